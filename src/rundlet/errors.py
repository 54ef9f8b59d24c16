"""The one error taxonomy of rundlet.

    Error
    ├── InvalidArgument     the caller's input is wrong, whatever the state
    ├── NotFound            the named object does not exist
    │   └── ProgramNotFound        it is the program that a process was to run
    ├── AlreadyExists       the name or id is taken
    ├── FailedPrecondition  right call, wrong state (start of a running container)
    ├── PermissionDenied    the caller, or this process, may not
    │   └── ProgramNotExecutable   execute that program
    ├── Unauthenticated     credentials are missing or refused (registries)
    ├── ResourceExhausted   a limit, a quota or the disk is full
    ├── Unavailable         a peer or the host cannot answer now; try again
    ├── DeadlineExceeded    the time that the caller gave has passed
    ├── Cancelled           the caller gave up
    ├── DataLoss            what was read is not what was written (digests)
    ├── Unimplemented       rundlet does not do this (yet)
    └── Internal            our bug

The names are those of gRPC on purpose: each wall (exit code, gRPC status, HTTP
status) maps the class once, and nothing ever branches on the text.  A message
says what failed, on which object and why, in one line; `hint` says what the
reader can do about it.
"""

from typing import ClassVar


class Error(Exception):
    """Base of every error that rundlet raises on purpose.

    ``message`` is one line without a full stop; ``hint`` may be empty.  Names in them are a stranger's: what
    would end the line, move a terminal's cursor or cannot be encoded stands in them as Python escapes it.
    The cause, when there is one, is ``__cause__`` as Python keeps it.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = message if message.isprintable() else _escape(message)
        self.hint = hint if hint.isprintable() else _escape(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message


def _escape(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class InvalidArgument(Error):
    code = "invalid_argument"


class NotFound(Error):
    code = "not_found"


class AlreadyExists(Error):
    code = "already_exists"


class FailedPrecondition(Error):
    code = "failed_precondition"


class PermissionDenied(Error):
    code = "permission_denied"


class Unauthenticated(Error):
    code = "unauthenticated"


class ResourceExhausted(Error):
    code = "resource_exhausted"


class Unavailable(Error):
    code = "unavailable"


class DeadlineExceeded(Error):
    code = "deadline_exceeded"


class Cancelled(Error):
    code = "cancelled"


class DataLoss(Error):
    code = "data_loss"


class Unimplemented(Error):
    code = "unimplemented"


class Internal(Error):
    code = "internal"


class ProgramNotFound(NotFound):
    code = "program_not_found"


class ProgramNotExecutable(PermissionDenied):
    code = "program_not_executable"


_KINDS: tuple[type[Error], ...] = (*Error.__subclasses__(), ProgramNotFound, ProgramNotExecutable)
BY_CODE: dict[str, type[Error]] = {kind.code: kind for kind in _KINDS}


def from_code(code: str, message: str, hint: str = "") -> Error:
    """The error that a peer sent as (code, message, hint); Internal when unknown."""
    return BY_CODE.get(code, Internal)(message, hint=hint)
