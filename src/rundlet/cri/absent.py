"""Modules that gRPC, protobuf and msgspec import and a CRI server or client never asks for anything.

Importing this one first leaves them out, until somebody does ask (`rundlet.lean`): 5 of the 32 MB that
a daemon has written to when it is ready.  asyncio is half of that, and brings TLS and processes of
its own; the servers here have threads.
"""

from rundlet.lean import leave_out

leave_out(
    "asyncio",
    "grpc.aio",
    "google.protobuf.internal.containers",
    "google.protobuf.internal.python_message",  # messages are upb's, in C
    "google.protobuf.text_format",
    "importlib.metadata",  # email, csv, zipfile
    "msgspec.inspect",
    "pkgutil",
)
