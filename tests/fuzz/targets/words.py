"""podman's words (-v, -p, --mount …): the word after the option decides which, `NAME TEXT`."""

from collections.abc import Callable

from rundlet.local.options import Confinement
from rundlet.local.words import (
    devices,
    environment,
    life,
    limits,
    mounts,
    network,
    numbers,
    ports,
    security,
    uses,
)
from tests.fuzz.mutation import of_words

_READERS: dict[str, Callable[[str], object]] = {
    "volume": lambda text: mounts.parse_volume(text, "/here"),
    "mount": lambda text: mounts.parse_mount(text, "/here"),
    "tmpfs": mounts.parse_tmpfs,
    "publish": ports.parse_publish,
    "address": ports.parse_address,
    "network": lambda text: network.parse_networks([text]),
    "ip": network.parse_ip4,
    "ip6": network.parse_ip6,
    "mac": network.parse_mac,
    "dns": lambda text: network.parse_dns([text], [text], [text]),
    "host": network.parse_host,
    "memory": limits.parse_memory,
    "swap": limits.parse_memory_swap,
    "cpus": limits.parse_cpus,
    "ulimit": limits.parse_ulimit,
    "restart": life.parse_restart,
    "pull": life.parse_pull,
    "entrypoint": life.parse_entrypoint,
    "words": life.parse_words,
    "log": lambda text: life.parse_logging("json-file", [text]),
    "capability": security.parse_capability,
    "security": lambda text: security.parse_security([text], Confinement(), "/nowhere"),
    "namespace": security.parse_namespace,
    "map": security.parse_id_map,
    "secret": uses.parse_secret,
    "device": uses.parse_device,
    "device-rule": devices.parse_device_rule,
    "whole": lambda text: numbers.parse_whole(text, "it"),
    "size": numbers.parse_size,
    "span": numbers.parse_span,
    "env": lambda text: environment.read_environment([text], [], {}),
    "label": lambda text: environment.read_labels([text]),
}
_EXAMPLES = (
    "volume /a:/b:ro,z,U", "volume name:/b", "mount type=bind,src=/a,dst=/b,ro=true,bind-propagation=rshared",
    "mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777", "mount type=volume,source=v,target=/v,subpath=a",
    "tmpfs /t:size=1m,mode=755,noexec", "publish 127.0.0.1:8000-8002:80-82/udp", "publish [::1]::80", "address fd00::1",
    "network bridge:ip=10.0.0.2,mac=02:00:00:00:00:01,alias=x", "network a,b", "network container:x", "ip 10.0.0.1",
    "ip6 fd00::1", "mac 02:00:00:00:00:01", "dns 1.1.1.1", "host a:10.0.0.1", "memory 1.5g", "swap -1", "cpus 0.5",
    "ulimit nofile=10:20", "restart on-failure:3", "pull newer", 'entrypoint ["a","b"]', 'words ["a"]', "log max-size=10m",
    "capability net_admin", "security label=level:s0:c1,c2", "security seccomp=unconfined", "security mask=/a:/b",
    "namespace container:x", "map 0:1000:65536", "secret s,type=mount,target=/a,mode=0400,uid=1", "device /dev/a:/dev/b:rwm",
    "device-rule c 10:* rwm", "whole 5", "size 10KiB", "span 1h2m3.5s", "env A=b", "label a=b",
)  # fmt: skip
SEEDS = tuple(map(str.encode, _EXAMPLES))
MUTATE = of_words(
    f"{' '.join(_READERS)} ro rw z Z U rshared noexec size mode type src dst target bind tmpfs volume tcp udp sctp 65535 0 1k 1e5"
    " inf nan infinity unlimited host none private always sha256: 0o17 -0 +1 1_000 ² ",
)


def check(data: bytes) -> None:
    name, _, text = data.decode(errors="surrogateescape").partition(" ")
    reader = _READERS.get(name)
    if reader is not None:
        reader(text)
