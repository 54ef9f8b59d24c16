"""The RuntimeService, put together from its groups of RPCs.

What no group implements answers UNIMPLEMENTED by the generated base class.
"""

from rundlet.cri.containers import ContainerRpcs
from rundlet.cri.events import EventRpcs
from rundlet.cri.metrics import MetricsRpcs
from rundlet.cri.node import NodeRpcs
from rundlet.cri.pods import PodRpcs
from rundlet.cri.stats import StatsRpcs
from rundlet.cri.stream_server import StreamServer
from rundlet.cri.streams import StreamRpcs
from rundlet.engine.engine import Engine


class RuntimeService(NodeRpcs, PodRpcs, ContainerRpcs, StatsRpcs, MetricsRpcs, EventRpcs, StreamRpcs):
    def __init__(self, engine: Engine, streams: StreamServer | None) -> None:
        self.engine = engine
        self.streams = streams
