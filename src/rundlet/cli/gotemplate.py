"""The part of Go's text/template that people write after --format.

    {{.Name}}   {{.Labels.version}}   {{index .Labels "a.b"}}   {{json .}}   {{len .Layers}}
    {{range .RepoTags}}{{.}} {{end}}   {{range $k, $v := .Labels}}{{$k}}={{$v}}{{end}}
    {{if .Created}}…{{else}}…{{end}}   {{join .Env ","}}   {{.Digest | upper}}   {{- trim -}}

A value prints as Go prints it: [a b] for a list, map[k:v] for a map, <no value> for nothing.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rundlet.errors import InvalidArgument

_TAG = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_WORD = re.compile(r'\s*("(?:[^"\\]|\\.)*"|`[^`]*`|\||:=|,|[()]|[^\s|,()"`]+)')
_DEPTH_MAX = 50


class _Text(NamedTuple):
    text: str


class _Print(NamedTuple):
    words: tuple[str, ...]


class _Block(NamedTuple):
    """`kind` is range, if or with; `names` are the variables of a range."""

    kind: str
    names: tuple[str, ...]
    words: tuple[str, ...]
    body: "tuple[_Node, ...]"
    otherwise: "tuple[_Node, ...]"


_Node = _Text | _Print | _Block
_Names = Mapping[str, Any]


def render_template(template: str, value: Any) -> str:
    """`template` filled with `value` (dicts, lists, texts, numbers, None).

    Raises InvalidArgument for what is malformed or not known here.
    """
    reader = _Reader(_split(template.replace("\\n", "\n").replace("\\t", "\t")))
    nodes, end = reader.read(0)
    if end:
        raise InvalidArgument(f"template: unexpected {{{{{end}}}}}")
    return _render(nodes, value, {"$": value})


def _split(template: str) -> list[str | tuple[str, ...]]:
    """Texts, and the words of each action."""
    parts: list[str | tuple[str, ...]] = []
    at, trim = 0, False
    for found in _TAG.finditer(template):
        text = template[at : found.start()]
        text = text.lstrip() if trim else text
        parts.append(text.rstrip() if found[1] else text)
        parts.append(tuple(_WORD.findall(found[2])))
        at, trim = found.end(), bool(found[3])
    rest = template[at:]
    if "{{" in rest:
        raise InvalidArgument("template: an action is not closed by }}")
    return [*parts, rest.lstrip() if trim else rest]


class _Reader:
    def __init__(self, parts: list[str | tuple[str, ...]]) -> None:
        self._parts = iter(parts)

    def read(self, depth: int) -> tuple[tuple[_Node, ...], str]:
        """The nodes up to the block's end, and the word that ended it ("" at the template's end)."""
        if depth > _DEPTH_MAX:
            raise InvalidArgument("template: nested too deep")
        nodes: list[_Node] = []
        for part in self._parts:
            if isinstance(part, str):
                nodes.append(_Text(part))
            elif not part:
                raise InvalidArgument("template: an action is empty")
            elif part[0].startswith("/*"):
                continue
            elif part[0] in ("end", "else"):
                return tuple(nodes), part[0]
            elif part[0] in ("range", "if", "with"):
                nodes.append(self._read_block(part, depth))
            else:
                nodes.append(_Print(part))
        return tuple(nodes), ""

    def _read_block(self, words: tuple[str, ...], depth: int) -> _Block:
        kind, rest = words[0], words[1:]
        names: tuple[str, ...] = ()
        if ":=" in rest:
            split = rest.index(":=")
            names, rest = tuple(word for word in rest[:split] if word != ","), rest[split + 1 :]
        body, end = self.read(depth + 1)
        otherwise: tuple[_Node, ...] = ()
        if end == "else":
            otherwise, end = self.read(depth + 1)
        if end != "end":
            raise InvalidArgument(f"template: {{{{{kind}}}}} is not closed by {{{{end}}}}")
        return _Block(kind, names, rest, body, otherwise)


def _render(nodes: Sequence[_Node], dot: Any, names: _Names) -> str:
    return "".join(_render_node(node, dot, names) for node in nodes)


def _render_node(node: _Node, dot: Any, names: _Names) -> str:
    if isinstance(node, _Text):
        return node.text
    if isinstance(node, _Print):
        return _show(_evaluate(node.words, dot, names))
    value = _evaluate(node.words, dot, names)
    if not value:
        return _render(node.otherwise, dot, names)
    if node.kind == "range":
        return "".join(_render(node.body, item, {**names, **bound}) for item, bound in _iterate(node, value))
    return _render(node.body, value if node.kind == "with" else dot, names)


def _iterate(node: _Block, value: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Each item and the variables that hold it; maps in the order of their keys."""
    if isinstance(value, dict):
        pairs = sorted(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        raise InvalidArgument("template: range needs a list or a map")
    if len(node.names) == 2:
        return [(item, dict(zip(node.names, (key, item), strict=True))) for key, item in pairs]
    return [(item, dict.fromkeys(node.names, item)) for _, item in pairs]


def _evaluate(words: Sequence[str], dot: Any, names: _Names) -> Any:
    """A pipeline: what each call gives is the last argument of the next."""
    value: list[Any] = []
    for call in _split_pipe(words):
        value = [_call(call, value, dot, names)]
    if not value:
        raise InvalidArgument("template: an action is empty")
    return value[0]


def _split_pipe(words: Sequence[str]) -> list[list[str]]:
    calls: list[list[str]] = [[]] if words else []
    depth = 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if word == "|" and not depth:
            calls.append([])
        else:
            calls[-1].append(word)
    return calls


def _call(words: list[str], piped: list[Any], dot: Any, names: _Names) -> Any:
    if words and words[0] in _FUNCTIONS:
        arguments = _read_arguments(words[1:], dot, names) + piped
        try:
            return _FUNCTIONS[words[0]](*arguments)
        except (TypeError, KeyError, IndexError, ValueError) as error:
            raise InvalidArgument(f"template: {words[0]}: wrong arguments") from error
    arguments = _read_arguments(words, dot, names)
    if len(arguments) != 1 or piped:
        raise InvalidArgument(f"template: {' '.join(words)[:60]!r} is not understood")
    return arguments[0]


def _read_arguments(words: Sequence[str], dot: Any, names: _Names) -> list[Any]:
    values: list[Any] = []
    at = 0
    while at < len(words):
        if words[at] == "(":
            end = _find_close(words, at)
            values.append(_evaluate(words[at + 1 : end], dot, names))
            at = end
        else:
            values.append(_read_word(words[at], dot, names))
        at += 1
    return values


def _find_close(words: Sequence[str], start: int) -> int:
    depth = 0
    for at in range(start, len(words)):
        depth += (words[at] == "(") - (words[at] == ")")
        if not depth:
            return at
    raise InvalidArgument("template: a ( is not closed")


def _read_word(word: str, dot: Any, names: _Names) -> Any:
    if word.startswith(('"', "`")):
        return json.loads(word) if word[0] == '"' else word[1:-1]
    if word.lstrip("-").isdigit():
        return int(word)
    if word in ("true", "false", "nil"):
        return {"true": True, "false": False, "nil": None}[word]
    head, *path = word.split(".")
    if head and head not in names:
        raise InvalidArgument(f"template: {head!r} is not known")
    value = names[head] if head else dot
    for key in filter(None, path):
        if not isinstance(value, dict):
            raise InvalidArgument(f"template: {word}: there is no {key!r}")
        if key not in value and value.keys() & _FIELDS:
            raise InvalidArgument(f"template: {word}: there is no {key!r}")
        value = value.get(key)
    return value


# Objects that have these have fixed fields: another one is a mistake of the template.
_FIELDS = frozenset({"Digest", "RepoTags"})


def _show(value: Any) -> str:
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{' '.join(map(_show, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_show(value[key])}' for key in sorted(value))}]"
    return str(value)


def _to_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = (value or {}).get(key, "") if isinstance(value, dict) or value is None else value[key]
    return value


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _to_json,
    "index": _index,
    "len": lambda value: len(value or ()),
    "join": lambda values, separator: separator.join(map(_show, values or ())),
    "split": lambda text, separator: text.split(separator),
    "upper": lambda text: text.upper(),
    "lower": lambda text: text.lower(),
    "title": lambda text: text.title(),
    "println": lambda *values: " ".join(map(_show, values)) + "\n",
    "print": lambda *values: "".join(map(_show, values)),
    "printf": lambda form, *values: re.sub(r"%[vds]", "%s", form) % tuple(map(_show, values)),
    "eq": lambda one, *others: one in others,
    "ne": lambda one, other: one != other,
    "not": lambda value: not value,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
}
