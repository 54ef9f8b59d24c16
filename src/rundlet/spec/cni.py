"""CNI network configurations and results, versions 0.1.0 to 1.1.0 (containernetworking SPEC.md).

    conf list   {cniVersion, name, plugins: [{type, …}, …]}
    conf        {cniVersion, name, type, …}          a list of one plugin

A result is kept in the newest form whatever its version on the wire:

    ≤ 0.2.0  {ip4: {ip, gateway, routes}, ip6: {…}, dns}
    ≤ 0.4.0  {interfaces, ips: [{version, address, …}], routes, dns}
    ≤ 1.1.0  {interfaces, ips: [{address, …}], routes, dns}
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from msgspec import Struct, field

from rundlet.errors import InvalidArgument
from rundlet.spec import json
from rundlet.spec.document import drop_nulls, parse_document

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
_IP4_IP6 = ("0.1.0", "0.2.0")
_IP_VERSIONED = ("0.3.0", "0.3.1", "0.4.0")
# What members of a result had before 1.0.0: 1.1.0 gave interfaces and routes more, and 1.0.0 allows it.
_BEFORE_1_1 = {"interfaces": ("name", "mac", "sandbox"), "routes": ("dst", "gw")}

# The name becomes a part of cache and lease paths: libcni's rule, no slash and no leading dot.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class _Model(Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class Plugin(NamedTuple):
    """One plugin of a network: its `type`, and its configuration as it stands in the file."""

    type: str
    capabilities: dict[str, bool]
    raw: dict[str, Any]


class NetworkConf(NamedTuple):
    """A network; `name` is "" only for a single conf without one.

    `cni_version` is the newest of the versions it offers that is known here.
    """

    name: str
    cni_version: str
    plugins: tuple[Plugin, ...]
    disable_check: bool = False
    disable_gc: bool = False


class _ConfModel(_Model, frozen=True):
    cni_version: str = "0.1.0"
    cni_versions: tuple[str, ...] = ()
    name: str = ""
    type: str = ""
    # Boolean, or the text of one: libcni takes both.
    disable_check: bool | str = False
    disable_gc: bool | str = field(name="disableGC", default=False)
    load_only_inlined_plugins: bool = False
    plugins: tuple[dict[str, Any], ...] | None = None


class _PluginModel(_Model, frozen=True):
    type: str
    capabilities: dict[str, bool] = field(default_factory=dict)


def parse_network_conf(
    raw: bytes,
    what: str = "network configuration",
    *,
    list_files: Callable[[str], Iterable[tuple[str, bytes]]] = lambda _: (),
) -> NetworkConf:
    """A conf or a conf list; InvalidArgument with the JSON path of what is wrong.

    `list_files` gives (name, content) of the plugin files that belong to a list
    by its name; a list with loadOnlyInlinedPlugins does without them.
    """
    value = json.decode(raw, object, what)
    # Only the outermost nulls: a plugin gets its configuration as it stands.
    model = json.convert(drop_nulls(value, 1), _ConfModel, what)
    _check(
        not model.name or _NAME.fullmatch(model.name), f"{what}: name: {model.name!r} is not a network name"
    )
    plugins = [_parse_plugin(value, what)] if model.type else _parse_list(model, what, list_files)
    return NetworkConf(
        name=model.name,
        cni_version=_choose_version((model.cni_version, *model.cni_versions), what),
        plugins=tuple(plugins),
        disable_check=_truth(model.disable_check, f"{what}: disableCheck"),
        disable_gc=_truth(model.disable_gc, f"{what}: disableGC"),
    )


def _parse_list(
    model: _ConfModel, what: str, list_files: Callable[[str], Iterable[tuple[str, bytes]]]
) -> list[Plugin]:
    _check(model.name, f"{what}: name: a list needs one")
    inlined = model.plugins or ()
    plugins = [_parse_plugin(plugin, f"{what}: plugins[{n}]") for n, plugin in enumerate(inlined)]
    if not model.load_only_inlined_plugins:
        plugins += [
            _parse_plugin(json.decode(content, object, path), path)
            for path, content in list_files(model.name)
        ]
    _check(plugins, f"{what}: plugins: must not be empty")
    return plugins


def _parse_plugin(value: Any, what: str) -> Plugin:
    model = json.convert(drop_nulls(value), _PluginModel, what)
    # The type is a file name in a directory of plugins: nothing that leads out of it.
    _check(
        model.type and "/" not in model.type and model.type not in (".", ".."),
        f"{what}: type: {model.type!r} is not a plugin name",
    )
    return Plugin(model.type, model.capabilities, value)


def _choose_version(offered: Iterable[str], what: str) -> str:
    known = [version for version in VERSIONS if version in offered]
    if not known:
        raise InvalidArgument(
            f"{what}: cniVersion: {' '.join(offered)!r} is not supported",
            hint=f"versions {VERSIONS[0]} to {VERSIONS[-1]} are",
        )
    return known[-1]


def _truth(value: bool | str, what: str) -> bool:
    if isinstance(value, bool):
        return value
    _check(value.lower() in ("true", "false", ""), f"{what}: expected true or false, got {value!r}")
    return value.lower() == "true"


class Interface(_Model, frozen=True):
    """`mac` as "aa:bb:…"; `sandbox` is the path of its network namespace, "" for the host's."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    socket_path: str = ""
    pci_id: str = field(name="pciID", default="")


class IpConfig(_Model, frozen=True):
    """`address` with its prefix length ("10.88.0.2/16"); `interface` is an index into the interfaces."""

    address: str
    gateway: str = ""
    interface: int | None = None


class Route(_Model, frozen=True):
    """`dst` with its prefix length; `gw` "" means the gateway of the address."""

    dst: str
    gw: str = ""
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


class Dns(_Model, frozen=True):
    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Result(_Model, frozen=True):
    """What an ADD has made, in the form of version 1.1.0."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IpConfig, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()


class ErrorResult(_Model, frozen=True):
    """What a failed plugin prints; `code` below 100 has a meaning in the specification."""

    code: int
    msg: str = ""
    details: str = ""


class _FamilyConfig(_Model, frozen=True):
    ip: str
    gateway: str = ""
    routes: tuple[Route, ...] = ()


class _OldResult(_Model, frozen=True):
    ip4: _FamilyConfig | None = None
    ip6: _FamilyConfig | None = None
    dns: Dns = Dns()


class _VersionModel(_Model, frozen=True):
    cni_version: str = ""
    supported_versions: tuple[str, ...] = ()


def parse_result(raw: bytes, version: str = "", what: str = "CNI result") -> Result:
    """A plugin's answer to ADD; `version` is the request's, for an answer that names none."""
    named = parse_document(raw, _VersionModel, what).cni_version or version or VERSIONS[0]
    _check(named in VERSIONS, f"{what}: cniVersion: {named!r} is not supported")
    if named in _IP4_IP6:
        result = _upgrade(parse_document(raw, _OldResult, what))
    else:
        result = parse_document(raw, Result, what)
    _check_result(result, what)
    return result


def parse_error(raw: bytes, what: str = "CNI error") -> ErrorResult:
    """What a failed plugin printed; InvalidArgument when it is not an error document."""
    return parse_document(raw, ErrorResult, what)


def parse_versions(raw: bytes, what: str = "CNI version") -> tuple[str, ...]:
    """The versions in an answer to VERSION."""
    return parse_document(raw, _VersionModel, what).supported_versions


def result_document(result: Result, version: str) -> dict[str, Any]:
    """`result` as plain JSON values in the form of `version`, as `prevResult` holds it.

    Versions up to 0.2.0 have room for one address of each family only and for
    no interfaces: the rest is left out.
    """
    _check(version in VERSIONS, f"cniVersion: {version!r} is not supported")
    if version in _IP4_IP6:
        return {"cniVersion": version, **_to_plain(_downgrade(result))}
    document: dict[str, Any] = {"cniVersion": version, **_to_plain(result)}
    if version in _IP_VERSIONED:
        for kind, known in _BEFORE_1_1.items():
            document[kind] = [
                {key: one[key] for key in known if key in one} for one in document.get(kind, ())
            ]
            if not document[kind]:
                del document[kind]
        document["ips"] = [{"version": _family(ip["address"]), **ip} for ip in document.get("ips", ())]
    return document


def _to_plain(model: Result | _OldResult) -> dict[str, Any]:
    plain: dict[str, Any] = json.decode(json.encode(model), dict, "CNI result")
    return plain


def encode_result(result: Result, version: str) -> bytes:
    """`result_document` as JSON."""
    return json.encode(result_document(result, version))


def _upgrade(old: _OldResult) -> Result:
    families = [family for family in (old.ip4, old.ip6) if family]
    return Result(
        ips=tuple(IpConfig(address=family.ip, gateway=family.gateway) for family in families),
        routes=tuple(route for family in families for route in family.routes),
        dns=old.dns,
    )


def _downgrade(result: Result) -> _OldResult:
    return _OldResult(ip4=_family_config(result, "4"), ip6=_family_config(result, "6"), dns=result.dns)


def _family_config(result: Result, family: str) -> _FamilyConfig | None:
    first = next((ip for ip in result.ips if _family(ip.address) == family), None)
    if first is None:
        return None
    routes = tuple(
        Route(dst=route.dst, gw=route.gw) for route in result.routes if _family(route.dst) == family
    )
    return _FamilyConfig(ip=first.address, gateway=first.gateway, routes=routes)


def _family(address: str) -> str:
    return "6" if ":" in address else "4"


def _check_result(result: Result, what: str) -> None:
    for n, ip in enumerate(result.ips):
        _check_address(ipaddress.ip_interface, ip.address, f"{what}: ips[{n}].address")
        _check(
            ip.interface is None or 0 <= ip.interface < len(result.interfaces),
            f"{what}: ips[{n}].interface: {ip.interface} is not one of the interfaces",
        )
        if ip.gateway:
            _check_address(ipaddress.ip_address, ip.gateway, f"{what}: ips[{n}].gateway")
    for n, route in enumerate(result.routes):
        _check_address(ipaddress.ip_interface, route.dst, f"{what}: routes[{n}].dst")
        if route.gw:
            _check_address(ipaddress.ip_address, route.gw, f"{what}: routes[{n}].gw")


def _check_address(parse: Any, text: str, what: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        raise InvalidArgument(f"{what}: {text!r} is not an address") from error


def _check(fine: object, message: str) -> None:
    if not fine:
        raise InvalidArgument(message)
