"""Kubernetes' YAML: refused with its path, or a plan of pods whose every container can be planned."""

from rundlet.kube.containers import plan_container
from rundlet.kube.documents import read_documents
from rundlet.kube.environment import PodView
from rundlet.kube.plan import list_containers, plan_play
from rundlet.kube.pods import plan_pod
from tests.fuzz.mutation import of_words

_POD = """apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: x}}
spec:
  restartPolicy: OnFailure
  securityContext: {runAsUser: 1, fsGroup: 2, sysctls: [{name: net.a, value: "1"}]}
  volumes:
  - {name: e, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: h, hostPath: {path: /tmp, type: Directory}}
  - {name: c, configMap: {name: m, items: [{key: k, path: a/b, mode: 0400}]}}
  containers:
  - name: c
    image: redis
    command: [sh, -c, "echo $(A) $$(B)"]
    env: [{name: A, value: x}, {name: B, valueFrom: {configMapKeyRef: {name: m, key: k}}}]
    envFrom: [{configMapRef: {name: m}, prefix: P_}]
    ports: [{containerPort: 80, hostPort: 8080, protocol: UDP, name: web}]
    resources: {limits: {cpu: 100m, memory: 64Mi}, requests: {cpu: "0.5", memory: 1e3}}
    livenessProbe: {httpGet: {path: /, port: web}, periodSeconds: 5}
    volumeMounts: [{name: e, mountPath: /e, subPath: s}, {name: c, mountPath: /c, readOnly: true}]
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {k: v}, binaryData: {b: YQ==}}
"""
_DEPLOYMENT = """kind: Deployment
metadata: {name: d}
spec:
  replicas: 2
  template: &t
    metadata: {labels: {app: x}}
    spec: {containers: [{name: c, image: i, imagePullPolicy: Never}]}
---
kind: Service
metadata: {name: s}
spec: {type: NodePort, selector: {app: x}, ports: [{port: 80, targetPort: 8080, nodePort: 30001}]}
---
kind: Secret
metadata: {name: z}
stringData: {p: q}
"""
SEEDS = (
    _POD.encode(),
    _DEPLOYMENT.encode(),
    b'{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[]}}]}',
)
MUTATE = of_words(
    "kind Pod List Job DaemonSet StatefulSet PersistentVolumeClaim &a *a !!python/object:os.system <<: 1Gi 1E 1e999 -1"
    " 0x7fffffffffffffff null ~ [] {} --- ... |- > 2001-01-01 $(A) secretKeyRef fieldRef tcpSocket exec volumes true",
    marks=":/=,@.-[]{} \n\"'&*",
)


def check(data: bytes) -> None:
    planned = plan_play(read_documents(data.decode(errors="replace"), "play.yaml"))
    for pod in planned.pods:
        plan_pod(pod.meta, pod.spec, ("kube",), pod.aliases, pod.published)
        for container, what in list_containers(pod):
            view = PodView(pod.meta)
            plan_container(container, pod.spec, pod.meta.name, planned.sources, view, pod.volumes, what)
