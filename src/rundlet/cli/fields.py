"""protobuf's field descriptors, typed: the stubs have a C and a Python class for the same thing."""

from typing import cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def fields_of(message: Message) -> list[FieldDescriptor]:
    """In the order of the proto."""
    return cast("list[FieldDescriptor]", message.DESCRIPTOR.fields)


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
