"""Messages as JSON and YAML: protobuf's JSON mapping with every field without presence written out.

Written here and not taken from protobuf, whose printer puts unset fields last:
crictl keeps the order of the proto, and so do we.
"""

import base64
import json
import sys
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from rundlet.cli.fields import fields_of, is_map
from rundlet.cli.table import rfc3339_time
from rundlet.cri.proto import api_pb2 as api

_WIDE_TYPES = {FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64}  # strings in JSON: 2**53 is its limit


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return plain_message(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode()
    return str(value) if field.type in _WIDE_TYPES else value


def _field_value(field: FieldDescriptor, value: Any) -> Any:
    if is_map(field):
        return {str(key): item for key, item in value.items()}  # CRI has string maps only
    if field.is_repeated:
        return [_scalar(field, item) for item in value]
    return _scalar(field, value)


def plain_message(message: Message) -> dict[str, Any]:
    """The message as dicts and lists, in the order of its fields; unset submessages are left out."""
    return {
        field.json_name: _field_value(field, getattr(message, field.name))
        for field in fields_of(message)
        if not field.has_presence or message.HasField(field.name)
    }


def snake_message(message: Message) -> dict[str, Any]:
    """Set fields only, by their proto names: how crictl shows handlers and features."""
    return {
        field.name: snake_message(value) if field.message_type is not None else value
        for field, value in message.ListFields()
    }


def _whole_message(message: Message) -> dict[str, Any]:
    """As plain_message, with null for what is unset."""
    return dict.fromkeys(field.json_name for field in fields_of(message)) | plain_message(message)


def pod_status_document(status: api.PodSandboxStatus) -> dict[str, Any]:
    return _whole_message(status) | {"createdAt": rfc3339_time(status.created_at)}


def container_status_document(status: api.ContainerStatus) -> dict[str, Any]:
    """Times as text; a time that has not come yet is year 1."""
    times = {"createdAt": status.created_at, "startedAt": status.started_at, "finishedAt": status.finished_at}
    return _whole_message(status) | {key: rfc3339_time(value) for key, value in times.items()}


def info_document(info: dict[str, str]) -> dict[str, Any]:
    """Verbose facts: JSON objects are parsed, everything else is text without its quotes."""
    return {key: _parse_info(value) for key, value in info.items()}


def _parse_info(value: str) -> Any:
    try:
        return json.loads(value) if value.startswith("{") else value.strip('"')
    except (ValueError, RecursionError):
        return value


def print_document(value: Any, output: str, *, sort: bool = False) -> None:
    """`value` on stdout as "json" or "yaml"."""
    if output == "yaml":
        import yaml

        sys.stdout.write(yaml.safe_dump(value, sort_keys=True, allow_unicode=True))
    else:
        print(json.dumps(value, indent=2, sort_keys=sort, ensure_ascii=False))


def print_statuses(documents: list[dict[str, Any]], output: str) -> None:
    """One status as an object, several as an array, keys sorted."""
    print_document(documents[0] if len(documents) == 1 else documents, output, sort=True)
