"""The one error taxonomy of rundlet.

    Error
    ├── InvalidArgument
    ├── NotFound
    │   └── ProgramNotFound
    ├── AlreadyExists
    ├── FailedPrecondition
    ├── PermissionDenied
    │   └── ProgramNotExecutable
    ├── Unauthenticated
    ├── ResourceExhausted
    ├── Unavailable
    ├── DeadlineExceeded
    ├── Cancelled
    ├── DataLoss
    ├── Unimplemented
    └── Internal

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
    """The caller's input is wrong, whatever the state."""

    code = "invalid_argument"


class NotFound(Error):
    """The named object does not exist."""

    code = "not_found"


class AlreadyExists(Error):
    """The name or id is taken."""

    code = "already_exists"


class FailedPrecondition(Error):
    """Right call, wrong state (start of a running container)."""

    code = "failed_precondition"


class PermissionDenied(Error):
    """The caller, or this process, may not."""

    code = "permission_denied"


class Unauthenticated(Error):
    """Credentials are missing or refused (registries)."""

    code = "unauthenticated"


class ResourceExhausted(Error):
    """A limit, a quota or the disk is full."""

    code = "resource_exhausted"


class Unavailable(Error):
    """A peer or the host cannot answer now; try again."""

    code = "unavailable"


class DeadlineExceeded(Error):
    """The time that the caller gave has passed."""

    code = "deadline_exceeded"


class Cancelled(Error):
    """The caller gave up."""

    code = "cancelled"


class DataLoss(Error):
    """What was read is not what was written (digests)."""

    code = "data_loss"


class Unimplemented(Error):
    """rundlet does not do this (yet)."""

    code = "unimplemented"


class Internal(Error):
    """Our bug."""

    code = "internal"


class ProgramNotFound(NotFound):
    """The program that a process was to run is not there."""

    code = "program_not_found"


class ProgramNotExecutable(PermissionDenied):
    """This user may not execute the program, or it is none."""

    code = "program_not_executable"


_KINDS: tuple[type[Error], ...] = (*Error.__subclasses__(), ProgramNotFound, ProgramNotExecutable)
BY_CODE: dict[str, type[Error]] = {kind.code: kind for kind in _KINDS}


def from_code(code: str, message: str, hint: str = "") -> Error:
    """The error that a peer sent as (code, message, hint); Internal when unknown."""
    return BY_CODE.get(code, Internal)(message, hint=hint)
