"""CNI: network configurations, results of plugins in every version, their errors."""

import json

from rundlet.spec.cni import encode_result, parse_error, parse_network_conf, parse_result, parse_versions
from tests.fuzz.mutation import of_json
from tests.fuzz.target import again

_CONF = {
    "cniVersion": "0.2.0",
    "name": "n",
    "type": "bridge",
    "bridge": "cni0",
    "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"},
}
_LIST = {
    "cniVersion": "1.1.0", "cniVersions": ["1.0.0", "0.4.0"], "name": "n", "disableCheck": True, "disableGC": "false",
    "plugins": [{"type": "bridge", "capabilities": {"portMappings": True}}, {"type": "portmap"}],
}  # fmt: skip
_RESULT = {
    "cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/x", "mtu": 1500}],
    "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1", "interface": 0}, {"address": "fd00::2/64"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1", "mtu": 1400, "advmss": 1, "priority": 2, "table": 3, "scope": 0}],
    "dns": {"nameservers": ["1.1.1.1"], "domain": "d", "search": ["s"], "options": ["o"]},
}  # fmt: skip
_OLD = {
    "cniVersion": "0.2.0",
    "ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
    "dns": {},
}
_ERROR = {"cniVersion": "1.0.0", "code": 7, "msg": "m", "details": "d"}
_VERSIONS = {"cniVersion": "1.0.0", "supportedVersions": ["0.1.0", "1.0.0"]}
SEEDS = tuple(json.dumps(value).encode() for value in (_CONF, _LIST, _RESULT, _OLD, _ERROR, _VERSIONS))
MUTATE = of_json(
    "0.1.0 0.2.0 0.3.0 0.3.1 0.4.0 1.0.0 1.1.0 2.0.0 true false 10.0.0.2/33 ::/0 fd00::1/64 bridge loopback"
)
_WRITTEN = ("0.3.0", "0.4.0", "1.0.0", "1.1.0")


def check(data: bytes) -> None:
    value = json.loads(data) if data[:1] == b"{" and _is_json(data) else {}
    if "plugins" in value or "type" in value:
        conf = parse_network_conf(data, "conf")
        assert conf.plugins
    elif "code" in value:
        parse_error(data)
    elif "supportedVersions" in value:
        parse_versions(data)
    else:
        _check_result(data)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _check_result(data: bytes) -> None:
    result = parse_result(data)
    for version in _WRITTEN:
        written = encode_result(result, version)
        assert encode_result(again(parse_result, written), version) == written
