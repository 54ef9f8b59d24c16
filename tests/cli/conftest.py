"""A small CRI runtime on a real socket, that keeps its objects in memory.

It stands for "any runtime" (CRI-O, containerd): the client's tests need answers
of every kind, not containers.
"""

# ruff: noqa: ARG002  # servicer methods have the signatures that gRPC gives them

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.proto import api_pb2_grpc

NOW_NS = time.time_ns()
HOUR_NS = 3600 * 10**9
POD_A, POD_B = "a1" * 32, "b2" * 32
RUNNING, EXITED, CREATED = "c3" * 32, "d4" * 32, "e5" * 32
REDIS = "sha256:" + "76" * 32
BARE = "sha256:" + "12" * 32


def make_pods():
    return [
        api.PodSandboxStatus(
            id=POD_A,
            metadata=api.PodSandboxMetadata(
                name="podsandbox1", uid="uid-1", namespace="redhat.test", attempt=1
            ),
            state=api.SANDBOX_READY,
            created_at=1481731144373680832,
            network=api.PodSandboxNetworkStatus(ip="10.88.0.2", additional_ips=[api.PodIP(ip="fd00::2")]),
            linux=api.LinuxPodSandboxStatus(namespaces=api.Namespace(options=api.NamespaceOption(pid=1))),
            labels={"group": "test"},
            annotations={"owner": "jwhite", "a.b/c": "<&>"},
        ),
        api.PodSandboxStatus(
            id=POD_B,
            metadata=api.PodSandboxMetadata(name="web", uid="uid-2", namespace="default"),
            state=api.SANDBOX_NOTREADY,
            created_at=NOW_NS - 3 * HOUR_NS,
            runtime_handler="runsc",
        ),
    ]


def make_container(id, name, state, pod_id, **more):
    return api.ContainerStatus(
        id=id,
        metadata=api.ContainerMetadata(name=name, attempt=more.pop("attempt", 0)),
        state=state,
        image=api.ImageSpec(image=more.pop("image", REDIS)),
        image_ref=REDIS,
        image_id=REDIS,
        labels={"pod": pod_id, **more.pop("labels", {})},
        **more,
    )


def make_containers(log_path):
    labels = {"io.kubernetes.pod.name": "podsandbox1", "io.kubernetes.pod.namespace": "redhat.test"}
    return [
        make_container(
            RUNNING,
            "redis",
            api.CONTAINER_RUNNING,
            POD_A,
            attempt=1,
            created_at=NOW_NS - 2 * HOUR_NS,
            started_at=NOW_NS - HOUR_NS,
            labels=labels,
            annotations={"note": "é"},
            log_path=str(log_path),
            mounts=[api.Mount(container_path="/data", host_path="/srv", readonly=True)],
        ),
        make_container(
            EXITED,
            "job",
            api.CONTAINER_EXITED,
            POD_A,
            image="quay.io/crio/redis:alpine",
            created_at=NOW_NS - 5 * HOUR_NS,
            started_at=NOW_NS - 4 * HOUR_NS,
            finished_at=NOW_NS - 3 * HOUR_NS,
            exit_code=3,
            reason="Error",
        ),
        make_container(CREATED, "new", api.CONTAINER_CREATED, POD_B, created_at=NOW_NS - HOUR_NS // 4),
    ]


def make_images():
    return [
        api.Image(
            id=REDIS,
            repo_tags=["quay.io/crio/redis:alpine", "quay.io/crio/redis:latest"],
            repo_digests=["quay.io/crio/redis@sha256:" + "98" * 32],
            size=12345678,
        ),
        api.Image(
            id=BARE,
            repo_digests=["localhost:5000/bare@sha256:" + "54" * 32],
            size=999,
            username="app",
            pinned=True,
        ),
    ]


def common(status, kind):
    """The fields that a status message shares with the list's message."""
    names = {field.name for field in kind.DESCRIPTOR.fields}
    return kind(**{field.name: value for field, value in status.ListFields() if field.name in names})


def matches(filter, item, state):
    labels = dict(item.labels)
    return (
        item.id.startswith(filter.id)
        and (not filter.HasField("state") or state == filter.state.state)
        and all(labels.get(key) == value for key, value in filter.label_selector.items())
    )


class Shelf(api_pb2_grpc.RuntimeServiceServicer, api_pb2_grpc.ImageServiceServicer):
    def __init__(self, log_path):
        self.pods = {pod.id: pod for pod in make_pods()}
        self.containers = {container.id: container for container in make_containers(log_path)}
        self.images = {image.id: image for image in make_images()}
        self.requests = []
        self.usage_ns = 0

    def find(self, table, id, context):
        found = [item for key, item in table.items() if key.startswith(id)]
        if len(found) != 1:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no such object {id}")
        return found[0]

    def Version(self, request, context):
        return api.VersionResponse(
            version="0.1.0", runtime_name="shelf", runtime_version="1.2.3", runtime_api_version="v1"
        )

    def Status(self, request, context):
        return api.StatusResponse(
            status=api.RuntimeStatus(
                conditions=[
                    api.RuntimeCondition(type="RuntimeReady", status=True),
                    api.RuntimeCondition(type="NetworkReady", reason="NoConf", message="no CNI conf"),
                ]
            ),
            runtime_handlers=[
                api.RuntimeHandler(features=api.RuntimeHandlerFeatures(user_namespaces=True)),
                api.RuntimeHandler(name="runsc"),
            ],
            features=api.RuntimeFeatures(supplemental_groups_policy=True),
            info={"config": '{"root": "/var"}', "golang": '"go1.27"'} if request.verbose else {},
        )

    def RuntimeConfig(self, request, context):
        return api.RuntimeConfigResponse(linux=api.LinuxRuntimeConfiguration(cgroup_driver=api.CGROUPFS))

    def RunPodSandbox(self, request, context):
        self.requests.append(request)
        return api.RunPodSandboxResponse(pod_sandbox_id="f6" * 32)

    def StopPodSandbox(self, request, context):
        self.find(self.pods, request.pod_sandbox_id, context).state = api.SANDBOX_NOTREADY
        return api.StopPodSandboxResponse()

    def RemovePodSandbox(self, request, context):
        del self.pods[self.find(self.pods, request.pod_sandbox_id, context).id]
        return api.RemovePodSandboxResponse()

    def PodSandboxStatus(self, request, context):
        pod = self.find(self.pods, request.pod_sandbox_id, context)
        info = (
            {"info": '{"pid": 7, "netnsPath": "/run/netns/x"}', "text": '"plain"'} if request.verbose else {}
        )
        return api.PodSandboxStatusResponse(status=pod, info=info)

    def ListPodSandbox(self, request, context):
        items = [
            common(pod, api.PodSandbox)
            for pod in self.pods.values()
            if matches(request.filter, pod, pod.state)
        ]
        return api.ListPodSandboxResponse(items=items)

    def CreateContainer(self, request, context):
        self.requests.append(request)
        return api.CreateContainerResponse(container_id="f7" * 32)

    def StartContainer(self, request, context):
        self.find(self.containers, request.container_id, context).state = api.CONTAINER_RUNNING
        return api.StartContainerResponse()

    def StopContainer(self, request, context):
        self.requests.append(request)
        self.find(self.containers, request.container_id, context).state = api.CONTAINER_EXITED
        return api.StopContainerResponse()

    def RemoveContainer(self, request, context):
        del self.containers[self.find(self.containers, request.container_id, context).id]
        return api.RemoveContainerResponse()

    def _pod_of(self, container):
        return container.labels["pod"]

    def ListContainers(self, request, context):
        wanted = [
            container
            for container in self.containers.values()
            if matches(request.filter, container, container.state)
            and self._pod_of(container).startswith(request.filter.pod_sandbox_id)
        ]
        items = [common(container, api.Container) for container in wanted]
        for item in items:
            item.pod_sandbox_id = item.labels["pod"]
        return api.ListContainersResponse(containers=items)

    def ContainerStatus(self, request, context):
        container = self.find(self.containers, request.container_id, context)
        info = {"info": '{"pid": 42}'} if request.verbose else {}
        return api.ContainerStatusResponse(status=container, info=info)

    def UpdateContainerResources(self, request, context):
        self.requests.append(request)
        return api.UpdateContainerResourcesResponse()

    def ReopenContainerLog(self, request, context):
        self.requests.append(request)
        return api.ReopenContainerLogResponse()

    def ExecSync(self, request, context):
        self.requests.append(request)
        self.find(self.containers, request.container_id, context)
        return api.ExecSyncResponse(
            stdout=b"out\n",
            stderr=b"err\n",
            exit_code=int(request.cmd[-1]) if request.cmd[0] == "exit" else 0,
        )

    def ListContainerStats(self, request, context):
        self.usage_ns += 10**9
        stats = api.ContainerStats(
            attributes=api.ContainerAttributes(id=RUNNING, metadata=api.ContainerMetadata(name="redis")),
            cpu=api.CpuUsage(
                timestamp=2 * self.usage_ns, usage_core_nano_seconds=api.UInt64Value(value=self.usage_ns)
            ),
            memory=api.MemoryUsage(working_set_bytes=api.UInt64Value(value=1234567)),
            writable_layer=api.FilesystemUsage(
                used_bytes=api.UInt64Value(value=4096), inodes_used=api.UInt64Value(value=3)
            ),
        )
        return api.ListContainerStatsResponse(stats=[stats])

    def ListPodSandboxStats(self, request, context):
        self.usage_ns += 10**9
        cpu = api.CpuUsage(
            timestamp=2 * self.usage_ns, usage_core_nano_seconds=api.UInt64Value(value=self.usage_ns)
        )
        memory = api.MemoryUsage(working_set_bytes=api.UInt64Value(value=1234567))
        stats = api.PodSandboxStats(
            attributes=api.PodSandboxAttributes(
                id=POD_A, metadata=api.PodSandboxMetadata(name="podsandbox1")
            ),
            linux=api.LinuxPodSandboxStats(cpu=cpu, memory=memory),
        )
        return api.ListPodSandboxStatsResponse(stats=[stats])

    def _find_image(self, name):
        for image in self.images.values():
            id = image.id.removeprefix("sha256:")
            if name in (*image.repo_tags, *image.repo_digests) or id.startswith(name.removeprefix("sha256:")):
                return image
        return None

    def ListImages(self, request, context):
        name = request.filter.image.image
        found = [self._find_image(name)] if name else list(self.images.values())
        return api.ListImagesResponse(images=[image for image in found if image])

    def ImageStatus(self, request, context):
        return api.ImageStatusResponse(
            image=self._find_image(request.image.image),
            info={"info": '{"arch": "amd64"}'} if request.verbose else {},
        )

    def PullImage(self, request, context):
        self.requests.append(request)
        if request.image.image == "absent":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such image absent")
        return api.PullImageResponse(image_ref=REDIS)

    def RemoveImage(self, request, context):
        self.images.pop(self._find_image(request.image.image).id)
        return api.RemoveImageResponse()

    def ImageFsInfo(self, request, context):
        usage = api.FilesystemUsage(
            timestamp=5,
            fs_id=api.FilesystemIdentifier(mountpoint="/var/lib"),
            used_bytes=api.UInt64Value(value=123456),
            inodes_used=api.UInt64Value(value=12),
        )
        return api.ImageFsInfoResponse(image_filesystems=[usage], container_filesystems=[usage])


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Times are shown in local time; these tests live in Greenwich."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def shelf(tmp_path):
    """The runtime; `shelf.endpoint` is where it listens."""
    shelf = Shelf(tmp_path / "redis.log")
    shelf.endpoint = f"unix://{tmp_path}/cri.sock"
    server = grpc.server(ThreadPoolExecutor(8))
    api_pb2_grpc.add_RuntimeServiceServicer_to_server(shelf, server)
    api_pb2_grpc.add_ImageServiceServicer_to_server(shelf, server)
    server.add_insecure_port(f"unix:{tmp_path}/cri.sock")
    server.start()
    yield shelf
    server.stop(0).wait()


class Outcome:
    def __init__(self, code, stdout, stderr):
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def lines(self):
        return self.stdout.splitlines()


@pytest.fixture
def rundlet(shelf, capfdbinary):
    """The command line against the shelf, in this process: code, stdout, stderr."""
    from rundlet.cli.main import run

    def call(*arguments):
        capfdbinary.readouterr()
        code = run(["-r", shelf.endpoint, *arguments])
        out, err = capfdbinary.readouterr()
        return Outcome(code, out.decode(), err.decode())

    return call
