"""Check the pages: every relative link leads somewhere, and the two READMEs have the same shape.

Prints one line a fault; exits 1 when there is any.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
TEST = re.compile(r"`(tests/[\w./]+\.py)::(\w+)`")
PATH = re.compile(r"`((?:src|tests|tools|docs|benchmarks|requirements)/[\w./-]+)`")


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def broken_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
            yield f"{page.relative_to(ROOT)}: link to {target}, which is not there"


def missing_paths(page: Path) -> Iterator[str]:
    """Files and folders of the project that a page names in code marks."""
    for target in PATH.findall(page.read_text("utf-8")):
        if not (ROOT / target).exists():
            yield f"{page.relative_to(ROOT)}: names {target}, which is not there"


def missing_tests(page: Path) -> Iterator[str]:
    """Tests that a page names, as pytest does."""
    for file, name in TEST.findall(page.read_text("utf-8")):
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text("utf-8"):
            yield f"{page.relative_to(ROOT)}: names {file}::{name}, which is not there"


def outline(page: Path) -> list[int]:
    """The levels of the headings, code blocks left out."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", text, flags=re.MULTILINE)]


def different_twins() -> Iterator[str]:
    if outline(ROOT / "README.md") != outline(ROOT / "README.zh-CN.md"):
        yield "README.zh-CN.md: its headings are not those of README.md"


def main() -> int:
    faults = [
        fault
        for page in pages()
        for fault in (*broken_links(page), *missing_paths(page), *missing_tests(page))
    ]
    faults += different_twins()
    print("\n".join(faults) or f"{len(pages())} pages: links and names lead somewhere")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
