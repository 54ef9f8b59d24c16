"""Variables and labels: options, files, and what is passed through from this process.

--env      NAME=VALUE | NAME (this process's value, if it has one) | PREFIX* (all that begin so)
--env-file the same, one a line; a line that begins with # says nothing
--env-merge NAME=TEXT, where $OTHER and ${OTHER} in TEXT are the image's values
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from rundlet.errors import InvalidArgument, NotFound, PermissionDenied

Pairs = tuple[tuple[str, str], ...]
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
# podman's default: a container sees the proxies of who runs it.
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")


def read_environment(
    texts: Sequence[str], files: Sequence[str], host: Mapping[str, str], *, everything: bool = False
) -> Pairs:
    """All of `host` when `everything`, then the files, then the options; the last of a name counts."""
    found: dict[str, str] = dict(host) if everything else {}
    for path in files:
        for line in read_lines(path):
            found |= _read_variable(line.lstrip(), host)
    for text in texts:
        found |= _read_variable(text, host)
    return tuple(found.items())


def _read_variable(text: str, host: Mapping[str, str]) -> dict[str, str]:
    name, equals, value = text.partition("=")
    if not name or "\0" in text:
        raise InvalidArgument(f"expected NAME=VALUE, got {text!r}")
    if equals:
        return {name: value}
    if name.endswith("*"):
        return {key: host[key] for key in host if key.startswith(name[:-1])}
    return {name: host[name]} if name in host else {}


def list_proxies(host: Mapping[str, str]) -> Pairs:
    """The proxy variables of `host`, in either spelling."""
    names = (spelling for name in _PROXIES for spelling in (name, name.upper()))
    return tuple((name, host[name]) for name in names if name in host)


def merge_environment(pairs: Pairs, image: Sequence[str]) -> Pairs:
    """Variables that are made of the image's ("NAME=VALUE"); what it does not have is empty."""
    values = dict(text.partition("=")[::2] for text in image)
    merged = []
    for name, text in pairs:
        values[name] = _REFERENCE.sub(lambda found: values.get(found[1] or found[2], ""), text)
        merged.append((name, values[name]))
    return tuple(merged)


def read_labels(texts: Iterable[str], files: Iterable[str] = ()) -> dict[str, str]:
    """KEY=VALUE or KEY, of the files first."""
    labels: dict[str, str] = {}
    for text in (*(line for path in files for line in read_lines(path)), *texts):
        key, _, value = text.partition("=")
        if not key.strip():
            raise InvalidArgument(f"expected KEY=VALUE, got {text!r}")
        labels[key] = value
    return labels


def read_lines(path: str) -> list[str]:
    """Lines that say something; comments begin with #."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError as error:
        raise NotFound(f"no file {path}") from error
    except PermissionError as error:
        raise PermissionDenied(f"may not read {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read {path}: {error}") from error
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
