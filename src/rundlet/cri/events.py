"""The RPC of container events (the kubelet's evented PLEG).

Every event carries the pod's and its containers' status as they are when it is sent; of
a pod that has gone there is none.  The events of a pod itself come under the pod's id.
"""

from collections.abc import Iterator

from grpc import ServicerContext as Context

from rundlet.cri.messages import container_status_message, pod_status_message
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.proto import api_pb2_grpc
from rundlet.engine.engine import Engine
from rundlet.engine.feed import Event
from rundlet.engine.options import ContainerFilter
from rundlet.errors import NotFound

_TYPES = {
    "created": api.CONTAINER_CREATED_EVENT,
    "started": api.CONTAINER_STARTED_EVENT,
    "stopped": api.CONTAINER_STOPPED_EVENT,
    "deleted": api.CONTAINER_DELETED_EVENT,
}


class EventRpcs(api_pb2_grpc.RuntimeServiceServicer):
    engine: Engine

    def GetContainerEvents(
        self, _request: api.GetEventsRequest, context: Context
    ) -> Iterator[api.ContainerEventResponse]:
        with self.engine.feed.subscribe() as events:
            # A client that goes away must not leave a worker waiting for the next event.
            context.add_callback(events.stop)
            # The header tells the client that nothing from now on is missed.
            context.send_initial_metadata(())
            for event in events:
                yield self._event_message(event)

    def _event_message(self, event: Event) -> api.ContainerEventResponse:
        message = api.ContainerEventResponse(
            container_id=event.id, container_event_type=_TYPES[event.change], created_at=event.time_ns
        )
        try:
            message.pod_sandbox_status.CopyFrom(pod_status_message(self.engine.pods.status(event.pod_id)))
        except NotFound:
            return message
        containers = self.engine.containers.list(ContainerFilter(pod_id=event.pod_id))
        message.containers_statuses.extend(map(container_status_message, containers))
        return message
