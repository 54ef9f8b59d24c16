"""Kubernetes' YAML on a real machine."""

import os
import time
import urllib.request
from pathlib import Path

import pytest

from rundlet.engine.options import Capabilities, PortMapping, Resources
from rundlet.errors import AlreadyExists, FailedPrecondition, NotFound
from rundlet.kube.documents import read_documents
from rundlet.kube.generate import find_group, generate
from rundlet.kube.play import PlaySettings, down, play
from rundlet.local.networkplan import NetworkRequest
from rundlet.local.options import (
    Confinement,
    HealthCheck,
    Logging,
    PodRequest,
    RestartPolicy,
    RunOptions,
    VolumeMount,
)
from rundlet.local.status import ContainerQuery

pytestmark = pytest.mark.kernel
EVERYTHING = ContainerQuery(all=True)


def read(text, image):
    return read_documents(text.replace("IMAGE", image), "file.yaml")


def ask(query):
    with urllib.request.urlopen(f"http://127.0.0.1:30080/cgi-bin/guestbook?{query}", timeout=5) as answer:
        return answer.read().decode().strip()


def ask_until(query, wanted, deadline_s=15.0):
    """A frontend or a follower may need a moment."""
    end = time.monotonic() + deadline_s
    seen = ""
    while seen != wanted and time.monotonic() < end:
        try:
            seen = ask(query)
        except OSError as error:
            seen = str(error)
        time.sleep(0.02)
    return seen


def left_behind(machine):
    return (
        [pod.name for pod in machine.pods.list()],
        [container.name for container in machine.containers.list(EVERYTHING)],
        [volume.name for volume in machine.volumes.list()],
        [secret.name for secret in machine.secrets.list()],
        [network.name for network in machine.networks.list()],
        [status.id for status in machine.engine.pods.list()],
    )


NOTHING = ([], [], [], [], ["rundlet"], [])


def test_guestbook_works_and_leaves_nothing(machine, redis_image):
    before = sorted(os.listdir("/sys/class/net"))
    documents = read(Path(__file__).with_name("guestbook.yaml").read_text(), redis_image)

    played = play(machine, documents)

    assert set(played.pods) == {
        "redis-leader-pod-0",
        "redis-follower-pod-0",
        "redis-follower-pod-1",
        "frontend-pod-0",
        "frontend-pod-1",
    }
    assert ask_until("set=hello", "OK") == "OK"
    assert ask_until("", "hello") == "hello"

    down(machine, documents)
    assert left_behind(machine) == NOTHING
    machine.close()
    assert sorted(os.listdir("/sys/class/net")) == before


POD = """
kind: Pod
metadata: {name: job, labels: {a: b}}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c]
"""


def run_pod(machine, text, image, **settings):
    play(machine, read(text, image), PlaySettings(**settings))
    name = "job-main"
    assert machine.containers.wait(name, 20) == 0
    return [entry.text for entry in machine.containers.logs(name)]


def test_containers_of_a_pod_share_a_volume_and_an_init_container_goes_first(machine, image):
    text = (
        POD
        + """    args: ["cat /work/file; stat -c %g:%a /work; echo $IP"]
    volumeMounts: [{name: work, mountPath: /work}]
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
  initContainers:
  - name: first
    image: IMAGE
    command: [sh, -c, "echo made > /work/file"]
    volumeMounts: [{name: work, mountPath: /work}]
  securityContext: {fsGroup: 4321}
  volumes: [{name: work, emptyDir: {}}]
"""
    )
    lines = run_pod(machine, text, image)
    assert lines == ["made", "4321:2775", machine.pods.get("job").ips[0]]


def test_init_container_that_fails_takes_its_pod_with_it(machine, image):
    text = (
        POD
        + """    args: [":"]
  initContainers: [{name: first, image: IMAGE, command: [sh, -c, "echo broken; exit 3"]}]
  volumes: [{name: work, emptyDir: {}}]
"""
    )
    with pytest.raises(FailedPrecondition, match="job-first ended with exit code 3: broken"):
        play(machine, read(text, image))
    assert (machine.pods.list(), machine.containers.list(EVERYTHING), machine.volumes.list()) == ([], [], [])


def test_secret_and_config_map_are_files_with_their_modes(machine, image):
    text = (
        POD
        + """    args: ["cat /s/word /c/sub/conf; stat -L -c %a /s/word"]
    volumeMounts: [{name: s, mountPath: /s}, {name: c, mountPath: /c}]
  volumes:
  - {name: s, secret: {secretName: hidden, defaultMode: 0400}}
  - {name: c, configMap: {name: shown, items: [{key: a, path: sub/conf}]}}
---
kind: Secret
metadata: {name: hidden}
stringData: {word: "xyzzy\\n"}
---
kind: ConfigMap
metadata: {name: shown}
data: {a: "text\\n"}
"""
    )
    assert run_pod(machine, text, image) == ["xyzzy", "text", "400"]
    down(machine, read(text, image))
    assert left_behind(machine) == NOTHING


def test_secret_of_an_earlier_file_is_found(machine, image):
    play(machine, read("kind: Secret\nmetadata: {name: word}\nstringData: {value: xyzzy}", image))
    text = (
        POD
        + """    args: ["echo $WORD"]
    env: [{name: WORD, valueFrom: {secretKeyRef: {name: word, key: value}}}]
"""
    )
    assert run_pod(machine, text, image) == ["xyzzy"]


def test_claim_keeps_its_files_and_goes_when_asked_to(machine, image):
    text = (
        POD
        + """    args: ["echo x >> /data/deep/er/log; wc -l < /data/deep/er/log"]
    volumeMounts: [{name: data, mountPath: /data/deep/er, subPath: one/two}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: store}}]
---
kind: PersistentVolumeClaim
metadata: {name: store}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
    )
    assert run_pod(machine, text, image) == ["1"]
    assert run_pod(machine, text, image, replace=True) == ["2"]
    down(machine, read(text, image))
    assert [volume.name for volume in machine.volumes.list()] == ["store"]
    down(machine, read(text, image), volumes=True)
    assert machine.volumes.list() == []


def test_host_path_that_is_not_there_is_named_or_made(machine, image, tmp_path):
    text = (
        POD
        + f"""    args: ["touch /host/file"]
    volumeMounts: [{{name: v, mountPath: /host}}]
  volumes: [{{name: v, hostPath: {{path: {tmp_path}/new, type: TYPE}}}}]
"""
    )
    with pytest.raises(NotFound, match="hostPath"):
        play(machine, read(text.replace("TYPE", "Directory"), image))
    assert machine.pods.list() == []
    run_pod(machine, text.replace("TYPE", "DirectoryOrCreate"), image)
    assert (tmp_path / "new" / "file").exists()


WEB = """
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: IMAGE
        command: [sh, -c, "mkdir /w; hostname > /w/name; exec busybox httpd -f -p 8080 -h /w"]
        ports: [{containerPort: 8080, name: http}]
---
kind: Service
metadata: {name: shop}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: http, nodePort: 30090}]}
---
kind: Pod
metadata: {name: guest}
spec:
  containers: [{name: main, image: IMAGE, command: [sleep, "600"]}]
"""


def test_a_service_is_reached_at_its_own_port(machine, image):
    """From a neighbour, and from a pod of the service itself."""
    assert play(machine, read(WEB, image)).warnings == ()
    for name in ("guest-main", "web-pod-0-web"):
        script = "for n in 1 2 3 4 5 6 7 8 9; do busybox wget -qO- http://shop/name && exit; sleep 0.1; done"
        found = machine.containers.exec(name, ["sh", "-c", script])
        assert found.stdout.decode().strip() in ("web-pod-0", "web-pod-1"), found.stderr


def ask_name():
    """Which pod of WEB answers at the host."""
    with urllib.request.urlopen("http://127.0.0.1:30090/name", timeout=5) as answer:
        return answer.read().decode().strip()


def seen_names(wanted, deadline_s=10.0):
    """Until all of them were seen, or the time is over; connections go to one of them at random."""
    seen = set()
    end = time.monotonic() + deadline_s
    while seen != wanted and time.monotonic() < end:
        try:
            seen.add(ask_name())
        except OSError:
            time.sleep(0.02)  # it has not begun to listen
    return seen


def test_a_node_port_leads_to_all_pods_of_the_service(machine, image):
    documents = read(WEB, image)
    play(machine, documents)
    assert seen_names({"web-pod-0", "web-pod-1"}) == {"web-pod-0", "web-pod-1"}
    machine.pods.remove("web-pod-0", force=True)
    assert {ask_name() for _ in range(20)} == {"web-pod-1"}
    with pytest.raises(AlreadyExists, match="30090"):
        machine.pods.create(PodRequest(name="rival", ports=(PortMapping(80, 30090),)))
    down(machine, documents)
    machine.close()
    with pytest.raises(OSError, match="refused"):
        ask_name()


def test_what_is_generated_from_a_container_plays_as_the_same(machine, image, tmp_path):
    asked = RunOptions(
        image=image,
        command=("sleep", "600"),
        name="web",
        hostname="shop",
        env=(("A", "1"), ("B", "two words")),
        user="5:6",
        groups=("7", "8"),
        workdir="/tmp",
        read_only=True,
        read_only_tmpfs=False,
        mounts=(
            VolumeMount("bind", "/host", str(tmp_path), readonly=True),
            VolumeMount("volume", "/data", "stuff"),
            VolumeMount("tmpfs", "/fast", size_bytes=1 << 20),
        ),
        ports=(PortMapping(8080, 30081),),
        hosts=(("192.0.2.1", "elsewhere"),),
        resources=Resources(
            cpu_period_us=100_000, cpu_quota_us=50_000, cpu_shares=512, memory_limit_bytes=64 << 20
        ),
        confinement=Confinement(
            capabilities=Capabilities(("CAP_NET_ADMIN",), ("CAP_CHOWN",)), no_new_privileges=True
        ),
        restart=RestartPolicy("on-failure"),
        health=HealthCheck(command=("true",), interval_s=30, timeout_s=3, retries=2, on_failure="restart"),
        stop_timeout_s=1.0,
    )
    machine.containers.create(asked)
    first = generate([find_group(machine, "web")], service=True)
    machine.containers.remove("web", force=True)
    played = play(machine, read(first, image))
    assert played.warnings == ()
    again = generate([find_group(machine, "web")], service=True)
    kept = machine.containers.get("web-web").asked
    assert again == first
    for field in ("env", "user", "groups", "workdir", "read_only", "resources", "confinement", "health"):
        assert getattr(kept, field) == getattr(asked, field)
    down(machine, read(first, image))


def test_logs_addresses_and_annotations_are_those_of_the_command_line(machine, image):
    settings = PlaySettings(
        ips=("10.99.7.8",),
        macs=("92:d0:c6:0a:29:33",),
        annotations={"why": "because"},
        logging=Logging("none"),
        networks=("lan",),
        own_hosts=True,
    )
    machine.networks.create(NetworkRequest("lan", subnets=("10.99.7.0/24",)))
    played = play(machine, read(POD + '    args: ["sleep 600"]\n', image), settings)
    ((pod_id, (container,)),) = played.pods.values()
    (link,) = machine.engine.pods.links(pod_id)
    assert (link.ips[0], link.mac) == ("10.99.7.8", "92:d0:c6:0a:29:33")
    found = machine.containers.get(container)
    assert found.log_path == ""
    assert found.asked.own_hosts
    assert machine.pods.get("job").asked.annotations == {"why": "because"}


def test_pod_that_is_not_started_is_created_whole(machine, image):
    play(machine, read(POD + '    args: [":"]\n', image), PlaySettings(start=False))
    assert [container.state for container in machine.containers.list(EVERYTHING)] == ["created"]


def test_pod_of_the_host_has_the_hosts_network(machine, image):
    text = POD.replace("spec:", "spec:\n  hostNetwork: true") + '    args: ["ls /sys/class/net"]\n'
    assert "eth0" not in run_pod(machine, text, image)


def test_pod_with_the_hosts_processes_sees_them(machine, image):
    text = (
        POD.replace("spec:", "spec:\n  hostPID: true") + '    args: ["echo $$$$"]\n'
    )  # two are one in Kubernetes
    (pid,) = run_pod(machine, text, image)
    assert int(pid) > 1
