"""The end of every command's help."""


def examples(*lines: str) -> str:
    """An epilog for click: the lines as they are; its backspace mark keeps them unwrapped."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
