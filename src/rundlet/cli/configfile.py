"""Pod and container files as crictl takes them, into protobuf messages.

JSON or YAML; keys in snake_case, camelCase or any letter case, enums by number
or name, environment values as plain text.  A wrong type is an error with its
path; an unknown key is reported and left out, so that files written for older
CRI versions work.
"""

import json
import os
import sys
import uuid
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from rundlet.cli.fields import fields_of, is_map
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import InvalidArgument, NotFound

_INTEGERS = {
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
}
_KINDS = {
    dict: "an object",
    list: "an array",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


def read_document(path: str) -> Any:
    """The file's JSON, or YAML when it is no JSON; NotFound or InvalidArgument with the line."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError as error:
        raise NotFound(f"no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read {path}: {error}") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith(("{", "[")):
            raise InvalidArgument(f"{path}: {error}") from error
        return _read_yaml(text, path)


def _read_yaml(text: str, path: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{path}: {' '.join(str(error).split())}") from error


class _Filler:
    """Copies plain values into messages, keeping the path of where it is."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.unknown: list[str] = []

    def fail(self, path: str, expected: str, value: Any) -> InvalidArgument:
        found = repr(value) if isinstance(value, str) else _KINDS.get(type(value), repr(value))
        return InvalidArgument(f"{self.file}: {path}: expected {expected}, got {found}")

    def fill(self, message: Message, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise self.fail(path or "document", "an object", value)
        fields = {key.lower(): field for field in fields_of(message) for key in (field.name, field.json_name)}
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            field = fields.get(str(key).lower())
            if field is None:
                self.unknown.append(where)
            elif item is not None:
                self._set(message, field, item, where)

    def _set(self, message: Message, field: FieldDescriptor, value: Any, path: str) -> None:
        target = getattr(message, field.name)
        if is_map(field):
            self._fill_map(target, value, path)
        elif field.is_repeated:
            self._fill_list(target, field, value, path)
        elif field.message_type is not None:
            target.SetInParent()
            self.fill(target, value, path)
        else:
            self._assign(message, field, value, path)

    def _fill_map(self, target: Any, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise self.fail(path, "an object", value)
        for key, item in value.items():
            if not isinstance(item, str):
                raise self.fail(f"{path}.{key}", "text", item)
            target[str(key)] = item

    def _fill_list(self, target: Any, field: FieldDescriptor, value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise self.fail(path, "an array", value)
        for index, item in enumerate(value):
            where = f"{path}[{index}]"
            if field.message_type is not None:
                self.fill(target.add(), item, where)
            else:
                target.append(self._scalar(field, item, where))

    def _assign(self, message: Message, field: FieldDescriptor, value: Any, path: str) -> None:
        try:
            setattr(message, field.name, self._scalar(field, value, path))
        except (ValueError, UnicodeEncodeError) as error:
            raise InvalidArgument(f"{self.file}: {path}: out of range: {value!r}") from error

    def _scalar(self, field: FieldDescriptor, value: Any, path: str) -> Any:
        if field.enum_type is not None:
            return self._enum(field.enum_type, value, path)
        if field.type in _INTEGERS:
            return self._integer(value, path)
        if field.type == FieldDescriptor.TYPE_BOOL:
            return self._expect(bool, value, path)
        text = self._expect(str, value, path)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text

    def _expect(self, kind: type, value: Any, path: str) -> Any:
        if not isinstance(value, kind):
            raise self.fail(path, _KINDS[kind], value)
        return value

    def _integer(self, value: Any, path: str) -> int:
        if isinstance(value, str) and value.lstrip("-").isdecimal():
            return int(value)  # protobuf's JSON has 64-bit numbers as text
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(path, "a whole number", value)
        return value

    def _enum(self, kind: EnumDescriptor, value: Any, path: str) -> int:
        names = kind.values_by_name
        if isinstance(value, str) and value in names:
            number: int = names[value].number
            return number
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(path, f"one of {', '.join(names)}", value)
        return value


def _load(path: str, message: Message) -> None:
    filler = _Filler(os.path.basename(path))
    filler.fill(message, read_document(path), "")
    if filler.unknown:
        print(f"warning: {path}: not CRI fields, ignored: {', '.join(filler.unknown)}", file=sys.stderr)


def _require(value: str, path: str, field: str) -> None:
    if not value:
        raise InvalidArgument(f"{os.path.basename(path)}: {field} is missing")


def load_pod_config(path: str) -> api.PodSandboxConfig:
    """A pod file; metadata needs a name and a namespace, a missing uid is made up.

    Raises NotFound or InvalidArgument.
    """
    config = api.PodSandboxConfig()
    _load(path, config)
    _require(config.metadata.name, path, "metadata.name")
    _require(config.metadata.namespace, path, "metadata.namespace")
    if not config.metadata.uid:
        config.metadata.uid = str(uuid.uuid4())
    return config


def load_container_config(path: str) -> api.ContainerConfig:
    """A container file; metadata needs a name, and the image must be named.

    Raises NotFound or InvalidArgument.
    """
    config = api.ContainerConfig()
    _load(path, config)
    _require(config.metadata.name, path, "metadata.name")
    _require(config.image.image, path, "image.image")
    if not config.image.user_specified_image:
        config.image.user_specified_image = config.image.image
    return config
