"""A service beside CRI on the same socket: what the daemon is doing, has done, and why.

    /rundlet.v1.Insight/Why      {"name": TEXT}                  →  [ACCOUNT, …]      engine.why.Account
    /rundlet.v1.Insight/Trace    {"names": [TEXT], "follow": B}  →  STEP, STEP, …     trace.view.StepView

Messages are JSON.  It is a service of its own, not a part of CRI's messages, as CRI has no call
about objects that are not made yet, or not any more, and none that streams steps.  What is said of
an object that has a status is also in that status' info map, under "why", for `crictl inspect`.
"""

import time
from collections.abc import Iterator
from typing import Any

import grpc
from msgspec import Struct

from rundlet.engine.insight import Insight
from rundlet.engine.why import Account
from rundlet.engine.whytext import format_account
from rundlet.spec.json import decode, encode
from rundlet.trace.view import StepView

SERVICE = "rundlet.v1.Insight"


class WhyRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """An empty `name` asks for everything under way."""

    name: str = ""


class TraceRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept, or with `follow` what ends from now on, until cancelled; of objects called `names` if any."""

    names: tuple[str, ...] = ()
    follow: bool = False


class InsightService:
    def __init__(self, insight: Insight) -> None:
        self._insight = insight

    def why(self, request: WhyRequest, _: grpc.ServicerContext) -> list[Account]:
        return self._insight.why(request.name)

    def trace(self, request: TraceRequest, context: grpc.ServicerContext) -> Iterator[StepView]:
        if not request.follow:
            yield from self._insight.trace(request.names)
            return
        following = self._insight.follow(request.names)
        context.add_callback(following.close)
        yield from following

    def handler(self) -> grpc.GenericRpcHandler:  # type: ignore[type-arg]  # generic in the stubs only
        handlers: dict[str, Any] = {
            "Why": grpc.unary_unary_rpc_method_handler(
                self.why,
                request_deserializer=lambda raw: decode(raw, WhyRequest, "request"),
                response_serializer=encode,
            ),
            "Trace": grpc.unary_stream_rpc_method_handler(
                self.trace,
                request_deserializer=lambda raw: decode(raw, TraceRequest, "request"),
                response_serializer=encode,
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)


def why_info(insight: Insight, text: str = "") -> dict[str, str]:
    """For the info map of a verbose status: what is said of the object, or of everything under way."""
    accounts = insight.why(text)
    lines = [line for account in accounts for line in format_account(account, time.time_ns())]
    return {"why": encode({"text": lines, "accounts": accounts}).decode()}


class InsightStub:
    """The client's side, on the channel of a CRI client."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.Why = channel.unary_unary(
            f"/{SERVICE}/Why",
            request_serializer=encode,
            response_deserializer=lambda raw: decode(raw, list[Account], "answer"),
        )
        self.Trace = channel.unary_stream(
            f"/{SERVICE}/Trace",
            request_serializer=encode,
            response_deserializer=lambda raw: decode(raw, StepView, "step"),
        )
