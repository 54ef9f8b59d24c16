"""The YAML of `kube play`: a stream of documents, read within bounds.

An alias of an alias of an alias… makes a few lines into gigabytes: what a document comes to with
every alias written out is counted before anything is made of it.
"""

from typing import Any, NamedTuple

import yaml

from rundlet.errors import InvalidArgument
from rundlet.spec.document import drop_nulls

SIZE_MAX_BYTES = 8 << 20
NODES_MAX = 200_000
DEPTH_MAX = 64
_DEPTH = 32


class Document(NamedTuple):
    """One object: `raw` is all of it as plain values, `what` names it in errors."""

    kind: str
    name: str
    raw: dict[str, Any]

    @property
    def what(self) -> str:
        return f"{self.kind} {self.name}"


def read_documents(text: str, what: str) -> list[Document]:
    """Every object of the stream, those of a List one by one; empty documents are passed over.

    Raises InvalidArgument for what is no YAML, too much of it, or no Kubernetes object.
    """
    if len(text.encode(errors="replace")) > SIZE_MAX_BYTES:
        raise InvalidArgument(f"{what}: more than {SIZE_MAX_BYTES >> 20} MiB of YAML")
    values = _load(text, what)
    found = []
    for number, value in enumerate(values):
        if value is not None:
            found += _read_object(value, f"{what}: document {number + 1}")
    if not found:
        raise InvalidArgument(f"{what}: there is no Kubernetes object in it")
    return found


def _load(text: str, what: str) -> list[Any]:
    loader = (yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)(text)
    values = []
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                _weigh(node, {}, 0, what)
                values.append(loader.construct_document(node))
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{what}: {_describe(error)}") from error
    except (ValueError, RecursionError) as error:  # a date that is none, a nest of brackets
        raise InvalidArgument(f"{what}: {error}") from error
    finally:
        loader.dispose()
    return values


def _weigh(node: yaml.Node, known: dict[int, int], depth: int, what: str) -> int:
    """The nodes below `node`, aliases counted as often as they stand there."""
    if depth > DEPTH_MAX:
        raise InvalidArgument(f"{what}: nested deeper than {DEPTH_MAX} levels, or an alias of itself")
    if id(node) in known:
        return known[id(node)]
    weight = 1
    for child in _children(node):
        weight += _weigh(child, known, depth + 1, what)
        if weight > NODES_MAX:
            raise InvalidArgument(f"{what}: more than {NODES_MAX} values, aliases written out")
    known[id(node)] = weight
    return weight


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _describe(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "no YAML"
    return f"line {mark.line + 1}: {problem}" if mark else str(problem)


def _read_object(value: Any, what: str) -> list[Document]:
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise InvalidArgument(f"{what}: kind: a Kubernetes object has one")
    value = drop_nulls(value, _DEPTH)
    if value["kind"] == "List":
        items = value.get("items", [])
        if not isinstance(items, list):
            raise InvalidArgument(f"{what}: items: expected a list")
        return [one for n, item in enumerate(items) for one in _read_object(item, f"{what}: items[{n}]")]
    metadata = value.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"{what}: {value['kind']}: metadata.name: there is none")
    return [Document(value["kind"], name, value)]
