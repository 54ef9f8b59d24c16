"""Server interceptor: every error leaves as the gRPC status that errors.py gives it.

An exception that is not ours is our bug: it is logged with its traceback and
answered as INTERNAL with the exception's class only, since its text may hold
the caller's secrets.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from rundlet.cri.errors import hint_metadata, status_of
from rundlet.errors import Error, Internal, Unimplemented

log = logging.getLogger(__name__)

_Handler = Callable[[Any, grpc.ServicerContext], Any]


def _known_error(error: Exception, name: str) -> Error:
    if isinstance(error, Error):
        return error
    if isinstance(error, NotImplementedError):
        return Unimplemented(f"rundlet does not implement {name} yet")
    log.error("%s failed", name, exc_info=error)
    return Internal(f"{name} failed: {type(error).__name__}", hint="the log of rundletd holds the traceback")


def _abort(context: grpc.ServicerContext, error: Error) -> None:
    context.set_trailing_metadata(hint_metadata(error))
    context.abort(status_of(error), str(error))


@contextmanager
def _answering(context: grpc.ServicerContext, name: str) -> Iterator[None]:
    try:
        yield
        return
    except Exception as error:  # noqa: BLE001  # the wall: whatever it is becomes a status
        known = _known_error(error, name)
    log.info("%s: %s", name, known)
    _abort(context, known)


def _guard_unary(handler: _Handler, name: str) -> _Handler:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        with _answering(context, name):
            return handler(request, context)

    return call


def _guard_stream(handler: _Handler, name: str) -> _Handler:
    def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with _answering(context, name):
            yield from handler(request, context)

    return call


class ErrorGuard(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """The handler of the call, wrapped; None, for an unknown method, stays None."""
        handler = continuation(details)
        if handler is None:
            return None
        name = details.method.rpartition("/")[2]
        wrap, make = (
            (_guard_stream, grpc.unary_stream_rpc_method_handler)
            if handler.response_streaming
            else (_guard_unary, grpc.unary_unary_rpc_method_handler)
        )
        return make(
            wrap(handler.unary_stream or handler.unary_unary, name),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
