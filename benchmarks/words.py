"""Numbers as people read them."""


def show(value: float) -> str:
    """Three digits that count, none invented: 0.0123, 1.23, 12.3, 123, 1 234."""
    if value == 0:
        return "0"
    if abs(value) >= 999.5:
        return f"{value:,.0f}".replace(",", " ")
    text = f"{value:#.3g}"
    return text.rstrip(".") if "e" not in text else f"{value:.5f}"


def show_unit(value: float, unit: str) -> str:
    return f"{show(value)} {unit}"


def show_count(value: int) -> str:
    return f"{value:,}".replace(",", " ")
