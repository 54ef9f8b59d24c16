"""Server interceptor: every call is an operation of the engine's tracer, and what the engine does a step of it.

It stands inside of the guard, where failures still have their class.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from rundlet.cri.insight import SERVICE as INSIGHT
from rundlet.trace.span import describe_failure
from rundlet.trace.tracer import Operation, Tracer

_Handler = Callable[[Any, grpc.ServicerContext], Any]

TRACEPARENT = "traceparent"  # W3C Trace Context, in lower case as gRPC has its metadata


class CallObserver(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = continuation(details)
        if handler is None or details.method.startswith(f"/{INSIGHT}/"):
            return handler  # unknown, or who looks on: not what the node does
        name = details.method.rpartition("/")[2]
        if handler.response_streaming:
            return handler._replace(unary_stream=self._observe_stream(handler.unary_stream, name))
        return handler._replace(unary_unary=self._observe_unary(handler.unary_unary, name))

    def _observe_unary(self, handler: _Handler, name: str) -> _Handler:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            with Operation(self._tracer, name) as operation:
                if self._tracer.wants_origins:
                    operation.origin = find_origin(context)
                return handler(request, context)

        return call

    def _observe_stream(self, handler: _Handler, name: str) -> _Handler:
        """A stream lasts as long as its caller likes, and in whichever thread: it is told of at its end only."""

        def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            operation = Operation(self._tracer, name)
            operation.started_ns = time.monotonic_ns()
            try:
                yield from handler(request, context)
            except Exception as error:
                operation.failure = describe_failure(error)
                raise
            finally:
                operation.ended_ns = time.monotonic_ns()
                self._tracer.tell(operation)

        return call


def find_origin(context: grpc.ServicerContext) -> str:
    """The caller's traceparent, "" without one."""
    return next((str(value) for key, value in context.invocation_metadata() if key == TRACEPARENT), "")
