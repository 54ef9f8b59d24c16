"""The one map between rundlet's errors and gRPC statuses, both ways.

A hint travels twice: in the status text, for clients that show only that
(crictl, kubelet), and alone in the trailing metadata, for ours.
"""

import grpc

from rundlet import errors

HINT_KEY = "rundlet-hint-bin"

STATUS_BY_ERROR: dict[type[errors.Error], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
ERROR_BY_STATUS = {status: kind for kind, status in STATUS_BY_ERROR.items()} | {
    grpc.StatusCode.ABORTED: errors.FailedPrecondition,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgument,
}


def status_of(error: errors.Error) -> grpc.StatusCode:
    """The gRPC status of an error, subclasses included."""
    known = (STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_BY_ERROR)
    return next(known, grpc.StatusCode.UNKNOWN)


def hint_metadata(error: errors.Error) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata that carries the hint; empty without one."""
    return ((HINT_KEY, error.hint.encode()),) if error.hint else ()


def _received_hint(call: grpc.Call) -> str:
    found = [value for key, value in call.trailing_metadata() or () if key == HINT_KEY]
    return found[0].decode(errors="replace") if found and isinstance(found[0], bytes) else ""


def error_from_call(failure: Exception) -> errors.Error:
    """The error that a failed call (an RpcError) stands for; Internal when its status is unknown."""
    if not isinstance(failure, grpc.Call):
        return errors.Internal(f"the gRPC call failed: {failure}")
    hint = _received_hint(failure)
    message = (failure.details() or failure.code().name).removesuffix(f" (hint: {hint})")
    return ERROR_BY_STATUS.get(failure.code(), errors.Internal)(" ".join(message.split()), hint=hint)
