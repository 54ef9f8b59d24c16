"""RPCs of containers, exec without a terminal included."""

from collections.abc import Iterator

from grpc import ServicerContext as Context

from rundlet.cri import options
from rundlet.cri.batch import batches
from rundlet.cri.insight import why_info
from rundlet.cri.messages import container_message, container_status_message
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.proto import api_pb2_grpc
from rundlet.engine.engine import Engine
from rundlet.engine.status import ContainerStatus
from rundlet.spec.json import encode
from rundlet.spec.runtime import RuntimeConfig


def _container_info(container: ContainerStatus, config: RuntimeConfig | None) -> dict[str, str]:
    """Verbose facts, with the config.json it was made from unless a reboot has taken that away."""
    facts: dict[str, object] = {
        "pid": container.pid,
        "sandboxID": container.pod_id,
        "runtimeHandler": container.runtime_handler,
        "options": container.options,
    }
    if config is not None:
        facts["runtimeSpec"] = config
    return {"info": encode(facts).decode()}


class ContainerRpcs(api_pb2_grpc.RuntimeServiceServicer):
    engine: Engine

    def CreateContainer(
        self, request: api.CreateContainerRequest, context: Context
    ) -> api.CreateContainerResponse:
        """The sandbox_config sent along is what RunPodSandbox has recorded already."""
        asked = options.container_options(request.config)
        container_id = self.engine.containers.create(request.pod_sandbox_id, asked)
        if not context.is_active():
            self.engine.containers.offer_again(asked, container_id)
        return api.CreateContainerResponse(container_id=container_id)

    def StartContainer(self, request: api.StartContainerRequest, _: Context) -> api.StartContainerResponse:
        self.engine.containers.start(request.container_id)
        return api.StartContainerResponse()

    def StopContainer(self, request: api.StopContainerRequest, _: Context) -> api.StopContainerResponse:
        self.engine.containers.stop(request.container_id, request.timeout)
        return api.StopContainerResponse()

    def RemoveContainer(self, request: api.RemoveContainerRequest, _: Context) -> api.RemoveContainerResponse:
        self.engine.containers.remove(request.container_id)
        return api.RemoveContainerResponse()

    def _list_containers(self, filter: api.ContainerFilter) -> list[api.Container]:
        found = self.engine.containers.list(options.container_filter(filter))
        return [container_message(container) for container in found]

    def ListContainers(self, request: api.ListContainersRequest, _: Context) -> api.ListContainersResponse:
        return api.ListContainersResponse(containers=self._list_containers(request.filter))

    def StreamContainers(
        self, request: api.StreamContainersRequest, _: Context
    ) -> Iterator[api.StreamContainersResponse]:
        for batch in batches(self._list_containers(request.filter)):
            yield api.StreamContainersResponse(containers=batch)

    def ContainerStatus(self, request: api.ContainerStatusRequest, _: Context) -> api.ContainerStatusResponse:
        container = self.engine.containers.status(request.container_id)
        info = {}
        if request.verbose:
            info = _container_info(container, self.engine.containers.config(container.id))
            info |= why_info(self.engine.insight, container.id)
        return api.ContainerStatusResponse(status=container_status_message(container), info=info)

    def UpdateContainerResources(
        self, request: api.UpdateContainerResourcesRequest, _: Context
    ) -> api.UpdateContainerResourcesResponse:
        asked = options.changed_resources(request.linux)
        self.engine.containers.update_resources(request.container_id, asked)
        return api.UpdateContainerResourcesResponse()

    def CheckpointContainer(
        self, request: api.CheckpointContainerRequest, _: Context
    ) -> api.CheckpointContainerResponse:
        """A timeout of 0 is the engine's own."""
        self.engine.containers.checkpoint(request.container_id, request.location, max(request.timeout, 0))
        return api.CheckpointContainerResponse()

    def ReopenContainerLog(
        self, request: api.ReopenContainerLogRequest, _: Context
    ) -> api.ReopenContainerLogResponse:
        self.engine.containers.reopen_log(request.container_id)
        return api.ReopenContainerLogResponse()

    def ExecSync(self, request: api.ExecSyncRequest, _: Context) -> api.ExecSyncResponse:
        """A timeout of 0 is none; the engine caps each output at 16 MiB (CVE-2022-1708)."""
        timeout_s = float(request.timeout) if request.timeout > 0 else None
        result = self.engine.containers.exec_sync(request.container_id, tuple(request.cmd), timeout_s)
        return api.ExecSyncResponse(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
