"""Every field of the contract has an effect, or stands with a reason in docs/cri.md.

what a client sends    PodSandboxConfig and ContainerConfig: a change of the field changes the options
                       the rest: a function of rundlet.cri reads it from a parameter of that message
what it gets           a function of rundlet.cri gives it to the message's constructor, or sets it later
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from rundlet.cri import options
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import InvalidArgument

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src/rundlet/cri").glob("*.py"))
MESSAGES = api.DESCRIPTOR.message_types_by_name
ROW = re.compile(r"^\| `(?P<name>[\w.]+\*?)` \|", re.MULTILINE)

Fields = set[tuple[str, str]]


def documented() -> set[str]:
    """`Message.field`, `Message` and `Prefix*` of the table in docs/cri.md."""
    table = (ROOT / "docs/cri.md").read_text().partition("## Fields without an effect")[2]
    return {found["name"] for found in ROW.finditer(table)}


def unexplained(fields: Fields) -> list[str]:
    known = documented()
    known |= {name for name in MESSAGES for row in known if row.endswith("*") and name.startswith(row[:-1])}
    return sorted(
        f"{message}.{field}" for message, field in fields if not {message, f"{message}.{field}"} & known
    )


def fields_below(*roots: str) -> Fields:
    """Every field of the messages and of those in them."""
    waiting, seen = [MESSAGES[name] for name in roots], {}
    while waiting:
        message = waiting.pop()
        if message.name not in seen and not message.GetOptions().map_entry:
            seen[message.name] = [field.name for field in message.fields]
            waiting += [field.message_type for field in message.fields if field.message_type]
    return {(name, field) for name, names in seen.items() for field in names}


def rpc_messages(kind: str) -> list[str]:
    methods = [method for service in api.DESCRIPTOR.services_by_name.values() for method in service.methods]
    return [getattr(method, kind).name for method in methods]


# --- what configurations do to options ------------------------------------------------------------

_VALUES = {FieldDescriptor.CPPTYPE_BOOL: True, FieldDescriptor.CPPTYPE_STRING: "x"}
CONVERTERS = {
    "PodSandboxConfig": options.pod_options,
    "ContainerConfig": options.container_options,
}


def value_of(field: FieldDescriptor) -> object:
    """Not the default; of an enum the third value or the last, which is Localhost, NODE or a propagation."""
    if field.enum_type:
        return min(2, field.enum_type.values[-1].number)
    return b"x" if field.type == FieldDescriptor.TYPE_BYTES else _VALUES.get(field.cpp_type, 7)


def fill(message: Message) -> Message:
    """Every field set, those of messages in it too."""
    for field in message.DESCRIPTOR.fields:
        set_field(message, field, deep=True)
    if isinstance(message, api.NamespaceOption):
        message.pid = api.TARGET  # or target_id would say nothing
    return message


def set_field(message: Message, field: FieldDescriptor, *, deep: bool) -> None:
    place = getattr(message, field.name)
    if field.message_type and field.message_type.GetOptions().map_entry:
        place["key"] = "value"
    elif field.message_type:
        part = place.add() if field.is_repeated else place
        part.SetInParent() if not field.is_repeated else None
        fill(part) if deep else None
    elif field.is_repeated:
        place.append(value_of(field))
    else:
        setattr(message, field.name, value_of(field))


def paths(
    message: Descriptor, above: tuple[FieldDescriptor, ...] = ()
) -> Iterator[tuple[FieldDescriptor, ...]]:
    """The way to every field that holds no message."""
    for field in message.fields:
        if field.message_type and not field.message_type.GetOptions().map_entry:
            yield from paths(field.message_type, (*above, field))
        else:
            yield (*above, field)


def walk_to(message: Message, path: tuple[FieldDescriptor, ...]) -> Message:
    """The message that holds the last field of the path, made where it is missing."""
    for field in path[:-1]:
        part = getattr(message, field.name)
        message = (part[0] if part else part.add()) if field.is_repeated else part
        message.SetInParent()
    return message


def outcome(message: Message) -> object:
    try:
        return CONVERTERS[message.DESCRIPTOR.name](message)
    except InvalidArgument as error:
        return error.message


def has_effect(name: str, path: tuple[FieldDescriptor, ...]) -> bool:
    """Whether the options change when it is set alone, or cleared where all is set."""
    empty, alone = getattr(api, name)(), getattr(api, name)()
    walk_to(empty, path)
    set_field(walk_to(alone, path), path[-1], deep=False)
    full, lacking = fill(getattr(api, name)()), fill(getattr(api, name)())
    walk_to(lacking, path).ClearField(path[-1].name)
    return outcome(empty) != outcome(alone) or outcome(full) != outcome(lacking)


@pytest.mark.parametrize("name", CONVERTERS)
def test_every_field_of_a_configuration_does_something(name: str) -> None:
    living = {path[-1].full_name for path in paths(MESSAGES[name]) if has_effect(name, path)}
    dead = {
        (path[-1].containing_type.name, path[-1].name)
        for path in paths(MESSAGES[name])
        if path[-1].full_name not in living
    }
    assert unexplained(dead) == []


# --- what the code reads and writes ---------------------------------------------------------------


def messages_of(node: ast.AST | None) -> set[str]:
    """`api.Mount` → Mount, `api.A | api.B` → both; what is no message is left out."""
    if isinstance(node, ast.BinOp):
        return messages_of(node.left) | messages_of(node.right)
    is_api = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "api"
    return {node.attr} & set(MESSAGES) if is_api else set()


def parameters_of(function: ast.FunctionDef) -> dict[str, set[str]]:
    """Names that hold messages by annotation: what a client has sent."""
    return {argument.arg: messages_of(argument.annotation) for argument in function.args.args}


def variables_of(function: ast.FunctionDef) -> dict[str, set[str]]:
    """Names that hold messages by what they are made of: what a client gets."""
    found = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            made = messages_of(node.value.func)
            found |= {target.id: made for target in node.targets if isinstance(target, ast.Name) and made}
    return found


def touch(node: ast.AST, scope: dict[str, set[str]], found: Fields) -> set[str]:
    """The messages that an attribute chain may end at; each step is noted."""
    if isinstance(node, ast.Name):
        return scope.get(node.id, set())
    if not isinstance(node, ast.Attribute):
        return set()
    ends = set()
    for message in touch(node.value, scope, found):
        field = MESSAGES[message].fields_by_name.get(node.attr)
        if field is not None:
            found.add((message, field.name))
            ends |= {field.message_type.name} if field.message_type and not field.is_repeated else set()
    return ends


def read_sources() -> tuple[Fields, Fields]:
    """(message, field) pairs that the wall reads, and those that it gives to constructors or sets later."""
    read: Fields = set()
    given: Fields = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for node in ast.walk(function):
                touch(node, parameters_of(function), read)
                touch(node, variables_of(function), given)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                made = messages_of(node.func)
                given |= {(message, keyword.arg or "") for message in made for keyword in node.keywords}
    return read, given


def test_every_field_of_a_request_is_read() -> None:
    read, _ = read_sources()
    asked = fields_below(*rpc_messages("input_type")) - fields_below(*CONVERTERS)
    assert unexplained(asked - read) == []


def test_every_field_of_an_answer_is_given() -> None:
    _, given = read_sources()
    answered = fields_below(*rpc_messages("output_type"))
    assert unexplained(answered - given) == []


def test_what_is_explained_is_there_and_without_effect() -> None:
    read, given = read_sources()
    fields = {f"{message}.{field}" for message, field in fields_below(*MESSAGES)}
    names = {name for name in documented() if not name.endswith("*")}
    assert names - fields - set(MESSAGES) == set()
    used = {f"{message}.{field}" for message, field in given | read}
    assert names & used == set()
