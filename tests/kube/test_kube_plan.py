"""Kubernetes' YAML as plans: no machine is needed."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.engine.options import PortMapping, PortRedirect
from rundlet.errors import AlreadyExists, Error, InvalidArgument, NotFound
from rundlet.kube.containers import plan_container
from rundlet.kube.documents import read_documents
from rundlet.kube.environment import PodView, expand
from rundlet.kube.plan import leave_alone, plan_play
from rundlet.kube.pods import plan_pod
from rundlet.kube.quantity import parse_bytes, parse_quantity

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: main
    image: busybox
"""


def play(text, **options):
    return plan_play(read_documents(text, "file.yaml"), **options)


def container(text, index=0):
    """The options of one container of the first pod."""
    plan = play(text)
    pod = plan.pods[0]
    view = PodView(pod.meta, "10.0.0.5", "10.0.0.1")
    return plan_container(
        pod.spec.containers[index], pod.spec, pod.meta.name, plan.sources, view, pod.volumes, pod.path
    )


# --- documents ---------------------------------------------------------------


def test_error_names_the_path_of_what_is_wrong():
    with pytest.raises(
        InvalidArgument, match=r"Pod web: spec\.containers\[0\]\.image: expected str, got int"
    ):
        play(POD.replace("image: busybox", "image: 7"))


def test_bomb_of_aliases_is_refused_before_it_goes_off():
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{chr(c + 1)}: &{chr(c + 1)} [{', '.join([f'*{chr(c)}'] * 9)}]" for c in range(ord("a"), ord("i"))
    ]
    with pytest.raises(InvalidArgument, match="aliases written out"):
        read_documents("kind: Pod\nmetadata: {name: x}\n" + "\n".join(lines), "bomb")


def test_alias_of_itself_is_refused():
    with pytest.raises(InvalidArgument, match="alias of itself"):
        read_documents("kind: Pod\nspec: &a [*a]", "loop")


@pytest.mark.parametrize(
    "text", ["", "---\n---\n", "[1, 2]", "kind: Pod", "a: [", "kind: Pod\nmetadata: {name: 5}"]
)
def test_what_is_no_object_is_refused_in_one_line(text):
    with pytest.raises(InvalidArgument) as caught:
        read_documents(text, "file")
    assert "\n" not in caught.value.message


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    try:
        plan_play(read_documents(text, "file"))
    except Error:
        pass


def test_list_is_its_items():
    text = "kind: List\nitems:\n- {kind: ConfigMap, metadata: {name: a}}\n- {kind: ConfigMap, metadata: {name: b}}"
    assert [document.name for document in read_documents(text, "file")] == ["a", "b"]


def test_object_that_stands_twice_is_refused():
    with pytest.raises(AlreadyExists, match="Pod web stands twice"):
        play(f"{POD}---{POD}")


def test_unknown_fields_and_kinds_are_told_in_one_warning_each():
    text = POD + "    lifecycle: {}\n  nodeSelector: {a: b}\n---\nkind: Ingress\nmetadata: {name: i}\n"
    kinds, fields = play(text).warnings
    assert kinds.endswith("Ingress i")
    assert fields.endswith("Pod web: spec.containers[0].lifecycle, Pod web: spec.nodeSelector")


# --- containers --------------------------------------------------------------


def test_command_is_the_entry_point_and_variables_are_written_out():
    asked = container(
        POD
        + """    command: [sh, -c]
    args: ["echo $(GREETING) $(NONE) $$(GREETING)"]
    env:
    - {name: NAME, value: world}
    - {name: GREETING, value: "hello $(NAME)"}
    - {name: DEBUG, value: true}
"""
    )
    assert asked.entrypoint == ("sh", "-c")
    assert asked.command == ("echo hello world $(NONE) $(GREETING)",)
    assert dict(asked.env) == {"NAME": "world", "GREETING": "hello world", "DEBUG": "true"}
    assert (asked.name, asked.pod) == ("web-main", "web")


def test_variables_come_from_config_maps_secrets_and_the_pod():
    secret = base64.b64encode(b"xyzzy").decode()
    asked = container(
        POD
        + f"""    envFrom:
    - {{prefix: C_, configMapRef: {{name: conf}}}}
    env:
    - {{name: WORD, valueFrom: {{secretKeyRef: {{name: word, key: value}}}}}}
    - {{name: MAYBE, valueFrom: {{secretKeyRef: {{name: word, key: none, optional: true}}}}}}
    - {{name: IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}
    - {{name: APP, valueFrom: {{fieldRef: {{fieldPath: "metadata.labels['app']"}}}}}}
    - {{name: MEM, valueFrom: {{resourceFieldRef: {{resource: limits.memory, divisor: 1Mi}}}}}}
    resources: {{limits: {{memory: 64Mi, cpu: 500m}}}}
---
kind: ConfigMap
metadata: {{name: conf}}
data: {{one: "1"}}
---
kind: Secret
metadata: {{name: word}}
data: {{value: {secret}}}
"""
    )
    assert dict(asked.env) == {"C_one": "1", "WORD": "xyzzy", "IP": "10.0.0.5", "APP": "web", "MEM": "64"}
    assert asked.resources.memory_limit_bytes == 64 << 20
    assert asked.resources.cpu_quota_us == 50_000
    assert asked.resources.cpu_shares == 512


def test_reference_that_leads_nowhere_is_named():
    with pytest.raises(NotFound, match=r"spec\.env\[0\]: there is no ConfigMap conf"):
        container(POD + "    env: [{name: A, valueFrom: {configMapKeyRef: {name: conf, key: a}}}]\n")


def test_security_of_the_container_wins_over_that_of_its_pod():
    asked = container(
        POD
        + """    securityContext:
      runAsUser: 7
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
  securityContext: {runAsUser: 5, runAsGroup: 6, fsGroup: 9, sysctls: [{name: net.core.somaxconn, value: "100"}]}
"""
    )
    assert (asked.user, asked.groups, asked.read_only) == ("7:6", ("9",), True)
    assert asked.confinement.no_new_privileges
    assert asked.confinement.capabilities.drop == ("ALL",)


@pytest.mark.parametrize(
    ("probe", "command", "url"),
    [
        ("{exec: {command: [cat, /ok]}}", ("cat", "/ok"), ""),
        ("{httpGet: {port: web, path: /healthz}}", (), "http://:8080/healthz"),
        ("{tcpSocket: {port: 8080}}", (), "tcp://:8080"),
    ],
)
def test_liveness_probe_is_a_health_check_that_restarts(probe, command, url):
    ports = "    ports: [{containerPort: 8080, name: web}]\n"
    startup = "    startupProbe: {tcpSocket: {port: 1}, periodSeconds: 5, failureThreshold: 6}\n"
    health = container(POD + ports + f"    livenessProbe: {probe}\n" + startup).health
    assert (health.command, health.url, health.on_failure) == (command, url, "restart")
    assert (health.interval_s, health.retries, health.start_period_s) == (10, 3, 0)
    assert (health.first.url, health.first.interval_s, health.first.retries) == ("tcp://:1", 5, 6)


def test_a_second_probe_is_told():
    probes = "    livenessProbe: {tcpSocket: {port: 1}}\n    readinessProbe: {tcpSocket: {port: 2}}\n"
    (warning,) = play(POD + probes).warnings
    assert "containers[0].readinessProbe: is not asked" in warning


def test_volumes_are_paths_or_volumes_of_this_machine():
    text = (
        POD
        + """    volumeMounts:
    - {name: host, mountPath: /host, subPath: below, readOnly: true}
    - {name: scratch, mountPath: /scratch}
    - {name: conf, mountPath: /conf}
    - {name: data, mountPath: /data}
  volumes:
  - {name: host, hostPath: {path: /srv}}
  - {name: scratch, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: conf, configMap: {name: conf, items: [{key: a, path: sub/a.txt, mode: 256}]}}
  - {name: data, persistentVolumeClaim: {claimName: store}}
---
kind: ConfigMap
metadata: {name: conf}
data: {a: text}
"""
    )
    host, scratch, conf, data = container(text).mounts
    assert (host.kind, host.source, host.readonly) == ("bind", "/srv/below", True)
    assert [mount.source for mount in (scratch, conf, data)] == ["web-scratch", "web-conf", "store"]
    volumes = play(text).pods[0].volumes
    assert volumes["scratch"].options["o"].endswith("size=1048576")
    assert volumes["conf"].files == {"sub/a.txt": (b"text", 0o400)}
    assert volumes["data"].stays


@pytest.mark.parametrize("path", ["../etc", "/etc", "a/../../b"])
def test_path_that_leads_out_of_a_volume_is_refused(path):
    mounts = f"    volumeMounts: [{{name: v, mountPath: /v, subPath: {path}}}]\n"
    with pytest.raises(InvalidArgument, match="must lie below the volume"):
        container(POD + mounts + "  volumes: [{name: v, emptyDir: {}}]\n")


# --- pods and services -------------------------------------------------------

DEPLOYMENT = """
kind: Deployment
metadata: {name: front}
spec:
  replicas: 2
  selector: {matchLabels: {app: front}}
  template:
    metadata: {labels: {app: front}}
    spec:
      containers: [{name: php, image: i, ports: [{containerPort: 8080, name: http}]}]
"""


def service(kind, ports):
    return f"---\nkind: Service\nmetadata: {{name: front}}\nspec: {{type: {kind}, selector: {{app: front}}, ports: {ports}}}\n"


def test_replicas_are_pods_that_know_the_service_by_name():
    plan = play(DEPLOYMENT + service("ClusterIP", "[{port: 8080}]"))
    assert [pod.meta.name for pod in plan.pods] == ["front-pod-0", "front-pod-1"]
    assert all("front.default.svc.cluster.local" in pod.aliases for pod in plan.pods)
    assert plan.warnings == ()


def test_node_port_is_a_host_port_that_the_pods_share():
    plan = play(DEPLOYMENT + service("NodePort", "[{port: 80, targetPort: http, nodePort: 30080}]"))
    assert [pod.published for pod in plan.pods] == [(PortMapping(8080, 30080, shared=True),)] * 2
    (alone,) = play(
        DEPLOYMENT.replace("replicas: 2", "replicas: 1") + service("NodePort", "[{port: 8080}]")
    ).pods
    assert alone.published == (PortMapping(8080, 30000),)


def test_where_ports_are_not_shared_the_first_pod_has_them():
    pods = play(DEPLOYMENT + service("NodePort", "[{port: 8080, nodePort: 30080}]")).pods
    first, second = leave_alone(pods)
    assert (first.published, second.published) == ((PortMapping(8080, 30080),), ())


def test_a_service_s_port_leads_to_the_target_port_of_each_pod():
    plan = play(DEPLOYMENT + service("ClusterIP", "[{port: 80, targetPort: http}]"))
    assert [pod.redirects for pod in plan.pods] == [(PortRedirect(80, 8080),)] * 2
    assert plan.warnings == ()


def test_a_service_s_port_that_the_pod_has_itself_is_told():
    text = DEPLOYMENT.replace("name: http}", "name: http}, {containerPort: 80}")
    plan = play(text + service("ClusterIP", "[{port: 80, targetPort: http}]"))
    assert [pod.redirects for pod in plan.pods] == [(), ()]
    assert "port 80 of pod front-pod-0 is taken: use its port 8080" in plan.warnings[0]


def test_load_balancer_publishes_its_own_port():
    plan = play(DEPLOYMENT + service("LoadBalancer", "[{port: 80, targetPort: 8080}]"))
    assert plan.pods[0].published[0].host_port == 80


def test_service_without_a_pod_is_told():
    assert "no pod of this file" in play(POD + service("ClusterIP", "[{port: 1}]")).warnings[0]


def test_pod_has_its_host_ports_aliases_and_names():
    text = POD + (
        "    ports: [{containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1}, {containerPort: 81}]\n"
        "  hostAliases: [{ip: 10.1.1.1, hostnames: [one, two]}]\n"
        "  dnsConfig: {nameservers: [10.0.0.9], options: [{name: ndots, value: '2'}]}\n"
        "  shareProcessNamespace: true\n"
    )
    pod = play(text).pods[0]
    request = plan_pod(pod.meta, pod.spec, ["kube"])
    assert [(port.host_port, port.host_ip) for port in request.ports] == [(8080, "127.0.0.1")]
    assert request.hosts == (("10.1.1.1", "one"), ("10.1.1.1", "two"))
    assert request.dns.options == ("ndots:2",)
    assert "pid" in request.share
    assert request.hostname == "web"


# --- quantities --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("128Mi", 128 << 20), ("1.5k", 1500), ("1e3", 1000), ("100m", 1), (2, 2)]
)
def test_quantities(text, value):
    assert parse_bytes(text, "x") == value


@pytest.mark.parametrize("text", ["", "1mi", "x", "-1", "1KB", "1e", "١"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(InvalidArgument):
        parse_quantity(text, "limits.cpu")


@given(st.text(max_size=50), st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_expansion_takes_any_text(text, values):
    assert isinstance(expand(text, values), str)


@pytest.mark.parametrize("value", ["é", "a", "YQ==="])
def test_a_value_that_is_not_base64_is_refused_by_its_path(value):
    text = f"kind: ConfigMap\nmetadata: {{name: m}}\nbinaryData: {{b: {value}}}\n"
    with pytest.raises(InvalidArgument, match=r"ConfigMap m\.binaryData\.b: not base64"):
        plan_play(read_documents(text, "x.yaml"))
