"""A container of a pod → what `local` is asked.  Pure."""

import math
from collections.abc import Mapping

from msgspec.structs import replace

from rundlet.engine.options import Capabilities, Resources, SecurityProfile, SelinuxLabel
from rundlet.errors import InvalidArgument
from rundlet.kube.environment import PodView, Sources, expand, plan_env
from rundlet.kube.model import (
    Container,
    ContainerSecurity,
    IntOrString,
    PodSecurity,
    PodSpec,
    Probe,
    Requirements,
    SeccompChoice,
    SelinuxOptions,
)
from rundlet.kube.quantity import parse_bytes, parse_quantity
from rundlet.kube.volumes import PlannedVolume, plan_mounts
from rundlet.local.options import Confinement, HealthCheck, PullPolicy, RestartPolicy, RunOptions

_CPU_PERIOD_US = 100_000
_SHARES_PER_CPU = 1024
_SHARES_MIN = 2
_PULL: dict[str, PullPolicy] = {"Always": "always", "IfNotPresent": "missing", "Never": "never"}
_RESTART: dict[str, RestartPolicy] = {
    "Always": RestartPolicy("always"),
    "OnFailure": RestartPolicy("on-failure"),
    "Never": RestartPolicy("no"),
}


def plan_container(
    container: Container,
    spec: PodSpec,
    pod: str,
    sources: Sources,
    view: PodView,
    volumes: Mapping[str, PlannedVolume],
    what: str,
) -> RunOptions:
    """A container of the pod's main part; `what` is its path in the document."""
    env = plan_env(container, sources, view, what)
    values = dict(env)
    security = container.security_context
    return RunOptions(
        image=container.image,
        name=f"{pod}-{container.name}",
        pod=pod,
        entrypoint=tuple(expand(word, values) for word in container.command) or None,
        command=tuple(expand(word, values) for word in container.args),
        env=env,
        workdir=container.working_dir,
        labels=view.meta.labels,
        annotations=view.meta.annotations,
        user=_plan_user(security, spec.security_context, what),
        groups=_plan_groups(spec.security_context),
        tty=container.tty,
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        read_only=security.read_only_root_filesystem,
        read_only_tmpfs=False,
        mounts=plan_mounts(container, volumes, values, what),
        resources=plan_resources(container.resources, f"{what}.resources"),
        confinement=_plan_confinement(security, spec.security_context, what),
        restart=_RESTART[container.restart_policy or spec.restart_policy],
        health=plan_health(container, what),
        stop_timeout_s=float(spec.termination_grace_period_seconds),
        pull=choose_pull(container),
    )


def plan_init_container(planned: RunOptions, container: Container) -> RunOptions:
    """One that runs to its end before the next begins, unless it is to stay (restartPolicy Always)."""
    if container.restart_policy == "Always":
        return planned
    return replace(planned, restart=RestartPolicy("no"), health=None)


def choose_pull(container: Container) -> PullPolicy:
    """Without a word the tag `latest` is looked for again, any other only once; here what is there will do."""
    return _PULL[container.image_pull_policy] if container.image_pull_policy else "missing"


def _plan_user(own: ContainerSecurity, pod: PodSecurity, what: str) -> str:
    user = own.run_as_user if own.run_as_user is not None else pod.run_as_user
    group = own.run_as_group if own.run_as_group is not None else pod.run_as_group
    non_root = own.run_as_non_root if own.run_as_non_root is not None else pod.run_as_non_root
    if non_root and user == 0:
        raise InvalidArgument(f"{what}.securityContext: runAsNonRoot, and runAsUser 0")
    if user is None:
        if group is not None:
            raise InvalidArgument(f"{what}.securityContext.runAsGroup: needs a runAsUser beside it")
        return ""
    return str(user) if group is None else f"{user}:{group}"


def _plan_groups(pod: PodSecurity) -> tuple[str, ...]:
    own = pod.supplemental_groups + ((pod.fs_group,) if pod.fs_group is not None else ())
    return tuple(map(str, own))


def _plan_confinement(own: ContainerSecurity, pod: PodSecurity, what: str) -> Confinement:
    return Confinement(
        privileged=own.privileged,
        capabilities=Capabilities(own.capabilities.add, own.capabilities.drop),
        no_new_privileges=not own.allow_privilege_escalation and not own.privileged,
        seccomp=_plan_seccomp(own.seccomp_profile or pod.seccomp_profile, what),
        selinux=_plan_selinux(own.se_linux_options or pod.se_linux_options),
        unmask=("ALL",) if own.proc_mount == "Unmasked" else (),
    )


def _plan_seccomp(choice: SeccompChoice | None, what: str) -> SecurityProfile:
    if choice is None or choice.type == "RuntimeDefault":
        return SecurityProfile("runtime-default")
    if choice.type == "Unconfined":
        return SecurityProfile("unconfined")
    if not choice.localhost_profile.startswith("/"):
        raise InvalidArgument(
            f"{what}.securityContext.seccompProfile.localhostProfile: expected an absolute path,"
            f" got {choice.localhost_profile!r}",
            hint="there is no kubelet whose directory it could be relative to",
        )
    return SecurityProfile("localhost", choice.localhost_profile)


def _plan_selinux(options: SelinuxOptions | None) -> SelinuxLabel:
    if options is None:
        return SelinuxLabel()
    return SelinuxLabel(options.user, options.role, options.type, options.level)


def plan_resources(asked: Requirements, what: str) -> Resources:
    """Limits bound, requests weigh: cpu only, as memory has no weight here."""
    cpu, memory = asked.limits.get("cpu"), asked.limits.get("memory")
    weight = asked.requests.get("cpu", cpu)
    quota = math.ceil(parse_quantity(cpu, f"{what}.limits.cpu") * _CPU_PERIOD_US) if cpu is not None else None
    shares = None
    if weight is not None:
        shares = max(_SHARES_MIN, int(parse_quantity(weight, f"{what}.requests.cpu") * _SHARES_PER_CPU))
    return Resources(
        cpu_period_us=_CPU_PERIOD_US if quota else None,
        cpu_quota_us=quota or None,
        cpu_shares=shares,
        memory_limit_bytes=parse_bytes(memory, f"{what}.limits.memory") if memory is not None else None,
        hugepage_limits={
            name.removeprefix("hugepages-").removesuffix("i") + "B": parse_bytes(
                value, f"{what}.limits.{name}"
            )
            for name, value in asked.limits.items()
            if name.startswith("hugepages-")
        },
    )


def plan_health(container: Container, what: str) -> HealthCheck | None:
    """The liveness probe, whose failure restarts; else the readiness probe, whose failure only shows.

    A startup probe goes before it, and restarts too.
    """
    probe, name = container.liveness_probe, "livenessProbe"
    if probe is None:
        probe, name = container.readiness_probe, "readinessProbe"
    startup = container.startup_probe
    main = _plan_check(probe, container, f"{what}.{name}") if probe else None
    first = _plan_check(startup, container, f"{what}.startupProbe") if startup else None
    if main is None and first is None:
        return None
    restarts = first is not None or name == "livenessProbe"
    return replace(main or HealthCheck(), first=first, on_failure="restart" if restarts else "none")


def _plan_check(probe: Probe, container: Container, what: str) -> HealthCheck:
    command, url = _plan_probe(probe, container, what)
    return HealthCheck(
        command=command,
        url=url,
        interval_s=float(max(1, probe.period_seconds)),
        timeout_s=float(max(1, probe.timeout_seconds)),
        retries=max(1, probe.failure_threshold),
        start_period_s=float(probe.initial_delay_seconds),
    )


def _plan_probe(probe: Probe, container: Container, what: str) -> tuple[tuple[str, ...], str]:
    """The program to run inside, or what to ask from without."""
    if probe.exec:
        return probe.exec.command, ""
    if probe.http_get:
        http = probe.http_get
        if http.scheme == "HTTPS" or http.host or http.http_headers:
            raise InvalidArgument(f"{what}.httpGet: only a port and a path are understood here")
        return (), f"http://:{find_port(http.port, container, what)}/{http.path.lstrip('/')}"
    if probe.tcp_socket:
        return (), f"tcp://:{find_port(probe.tcp_socket.port, container, what)}"
    raise InvalidArgument(f"{what}: is of no kind that is known here", hint="exec, httpGet and tcpSocket are")


def find_port(port: IntOrString, container: Container, what: str) -> int:
    """A port by its number or by the name that the container gives it."""
    if isinstance(port, int) or port.isdecimal():
        return int(port)
    for own in container.ports:
        if own.name == port:
            return own.container_port
    raise InvalidArgument(f"{what}: container {container.name} has no port {port!r}")
