"""RPCs about the node: Version, Status, RuntimeConfig, UpdateRuntimeConfig."""

from grpc import ServicerContext as Context

import rundlet
from rundlet.cri import messages
from rundlet.cri.insight import why_info
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.proto import api_pb2_grpc
from rundlet.engine.engine import Engine

KUBELET_API_VERSION = "0.1.0"  # what the kubelet has asked for since its first CRI release


class NodeRpcs(api_pb2_grpc.RuntimeServiceServicer):
    engine: Engine

    def Version(self, _request: api.VersionRequest, _: Context) -> api.VersionResponse:
        return api.VersionResponse(
            version=KUBELET_API_VERSION,
            runtime_name="rundlet",
            runtime_version=rundlet.__version__,
            runtime_api_version="v1",
        )

    def Status(self, request: api.StatusRequest, _: Context) -> api.StatusResponse:
        node = self.engine.status()
        conditions = [messages.condition_message(condition) for condition in node.conditions]
        return api.StatusResponse(
            status=api.RuntimeStatus(conditions=conditions),
            info=node.info | why_info(self.engine.insight) if request.verbose else {},
            runtime_handlers=[messages.handler_message(handler) for handler in node.handlers],
            features=api.RuntimeFeatures(
                supplemental_groups_policy=node.supplemental_groups_policy,
                user_namespaces_host_network=node.user_namespaces_host_network,
                mount_options=node.mount_options,
            ),
        )

    def RuntimeConfig(self, _request: api.RuntimeConfigRequest, _: Context) -> api.RuntimeConfigResponse:
        driver = api.SYSTEMD if self.engine.settings.cgroup_driver == "systemd" else api.CGROUPFS
        return api.RuntimeConfigResponse(linux=api.LinuxRuntimeConfiguration(cgroup_driver=driver))

    def UpdateRuntimeConfig(
        self, _request: api.UpdateRuntimeConfigRequest, _: Context
    ) -> api.UpdateRuntimeConfigResponse:
        """Pod CIDRs come from the CNI configuration files, so the kubelet's is only taken note of."""
        return api.UpdateRuntimeConfigResponse()
