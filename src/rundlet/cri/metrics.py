"""RPCs of metrics under cAdvisor's names."""

from collections.abc import Iterable, Iterator

from grpc import ServicerContext as Context

from rundlet.cri.batch import batches
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.proto import api_pb2_grpc
from rundlet.engine.engine import Engine
from rundlet.engine.metrics import BASE_LABELS, FAMILIES, Metric

_KINDS = {"counter": api.COUNTER, "gauge": api.GAUGE}


def metric_messages(metrics: Iterable[Metric]) -> list[api.Metric]:
    return [
        api.Metric(
            name=metric.name,
            timestamp=metric.timestamp_ns,
            metric_type=_KINDS[metric.kind],
            label_values=metric.label_values,
            value=api.UInt64Value(value=metric.value),
        )
        for metric in metrics
    ]


class MetricsRpcs(api_pb2_grpc.RuntimeServiceServicer):
    engine: Engine

    def ListMetricDescriptors(
        self, _request: api.ListMetricDescriptorsRequest, _: Context
    ) -> api.ListMetricDescriptorsResponse:
        descriptors = [
            api.MetricDescriptor(
                name=family.name, help=family.help, label_keys=(*BASE_LABELS, *family.labels)
            )
            for family in FAMILIES
        ]
        return api.ListMetricDescriptorsResponse(descriptors=descriptors)

    def _pod_metrics(self) -> list[api.PodSandboxMetrics]:
        return [
            api.PodSandboxMetrics(
                pod_sandbox_id=pod.pod_id,
                metrics=metric_messages(pod.metrics),
                container_metrics=[
                    api.ContainerMetrics(container_id=container_id, metrics=metric_messages(metrics))
                    for container_id, metrics in pod.containers.items()
                ],
            )
            for pod in self.engine.metrics()
        ]

    def ListPodSandboxMetrics(
        self, _request: api.ListPodSandboxMetricsRequest, _: Context
    ) -> api.ListPodSandboxMetricsResponse:
        return api.ListPodSandboxMetricsResponse(pod_metrics=self._pod_metrics())

    def StreamPodSandboxMetrics(
        self, _request: api.StreamPodSandboxMetricsRequest, _: Context
    ) -> Iterator[api.StreamPodSandboxMetricsResponse]:
        for batch in batches(self._pod_metrics()):
            yield api.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=batch)
