"""mkdocs hooks: pages that are made while the site is, and links that lead out of docs/.

The top directory's pages become pages of the site; the commands' pages are made of what click knows of
them, those of the Python API of `tools/public_api.py`.  None of these is kept in a file, so none can be stale.
Links to other files of the project, which the site does not have, become their names.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.command_pages import list_pages  # noqa: E402  mkdocs does not look here for modules
from tools.public_api import PUBLIC, PublicModule  # noqa: E402

TOP_PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
}
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_FETCHED = re.compile(
    r"""<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>"""
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill "commands/" and "api/" of the navigation."""
    lists = {
        "commands/": [{page.title: page.path} for page in list_pages()],
        "api/": [{one.title: _path_of(one)} for one in PUBLIC],
    }
    config.nav = _fill(config.nav, lists)
    return config


def _fill(nav: Any, lists: dict[str, list[dict[str, str]]]) -> Any:
    if isinstance(nav, list):
        return [_fill(item, lists) for item in nav]
    if isinstance(nav, dict):
        return {title: _fill(value, lists) for title, value in nav.items()}
    return lists.get(nav, nav)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {new: (ROOT / old).read_text("utf-8") for old, new in TOP_PAGES.items()}
    made |= {page.path: page.render() for page in list_pages()}
    made |= {_path_of(one): _render(one) for one in PUBLIC}
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  mkdocs names them
    """Links as they are in the project become links of the site, or names."""
    came_from = {new: old for old, new in TOP_PAGES.items()}
    home = came_from.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def lead(found: re.Match[str]) -> str:
        path = found["path"]
        if "://" in path or path.startswith("mailto:"):
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(home), path))
        inside = TOP_PAGES.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(inside) is None:
            return found["text"]
        relative = posixpath.relpath(inside, posixpath.dirname(page.file.src_uri) or ".")
        return f"[{found['text']}]({relative}{found['anchor'] or ''})"

    return _LINK.sub(lead, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """A reader's browser asks nobody but the site: no fonts, scripts or pictures from elsewhere."""
    fetched = _FETCHED.search(output)
    if fetched:
        raise click.ClickException(f"{page.file.src_uri}: fetches {fetched[0][:200]}")
    return output


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:  # noqa: ARG001
    """Every page must be reached: mkdocs only tells of it."""
    lost = [page.src_uri for page in files.documentation_pages() if page.inclusion.is_not_in_nav()]
    if lost:
        raise click.ClickException(f"not in the navigation of mkdocs.yml: {', '.join(lost)}")
    return nav


def _path_of(one: PublicModule) -> str:
    return f"api/{one.module}.md"


def _render(one: PublicModule) -> str:
    """The directives of mkdocstrings."""
    names = "".join(f"        - {name}\n" for name in one.names)
    members = f"    options:\n      members:\n{names}" if names else ""
    return f"# {one.title}\n\n::: {one.module}\n{members}"
