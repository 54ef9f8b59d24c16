"""Options that commands of `rundlet image` share, spelled and understood as skopeo's.

Switches may be written `--tls-verify=false`, as Go programs take them, and the group's
options may stand before or after the command's name.
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rundlet.cli.duration import DURATION
from rundlet.errors import InvalidArgument
from rundlet.image.location import Location
from rundlet.image.place import DEFAULT_ROOT, DEFAULT_RUN_ROOT, Access, Host
from rundlet.spec.descriptor import Platform, host_platform, parse_platform

if TYPE_CHECKING:
    from rundlet.engine.settings import Settings
    from rundlet.image.supply import Supply
    from rundlet.registry.settings import Credentials, RegistrySettings
    from rundlet.store.store import Places

Command = TypeVar("Command", bound=Callable[..., Any])
_META = "rundlet.image"
_CONFIGURATION = "/etc/rundlet"
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class GoCommand(click.Command):
    """A command that takes the group's options too, and switches as `--flag=true`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _make_global_options(hidden=True)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [each for arg in args for each in self._rewrite(arg)])

    def _rewrite(self, arg: str) -> list[str]:
        if arg == "-q":  # click looks for options that resemble a short one before it takes it: 5 ms
            return ["--quiet"] if any("--quiet" in param.opts for param in self.params) else [arg]
        name, equals, value = arg.partition("=")
        if not equals or value not in _TRUE | _FALSE:
            return [arg]
        for param in self.params:
            if isinstance(param, click.Option) and param.is_flag and name in param.opts:
                return [name] if value in _TRUE else list(param.secondary_opts[:1])
        return [arg]


def image_command(*lines: str, **settings: Any) -> Callable[[Callable[..., None]], click.Command]:
    """A command of the group, with example lines at the end of its help."""
    from rundlet.cli.help import examples

    return click.command(cls=GoCommand, epilog=examples(*lines), **settings)


# --- the group's own ------------------------------------------------------------


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and value is not False and value != "":
        ctx.meta.setdefault(_META, {})[param.name] = value


_GLOBAL: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--policy",), {"metavar": "FILE", "help": "The policy.json that says which images may be read."}),
    (("--insecure-policy",), {"is_flag": True, "help": "Ask no policy."}),
    (("--registries.d", "registries_d"), {"metavar": "DIR", "help": "Where signatures of registries lie."}),
    (("--override-os",), {"metavar": "OS", "help": "Choose images for this system."}),
    (("--override-arch",), {"metavar": "ARCH", "help": "Choose images for this architecture."}),
    (("--override-variant",), {"metavar": "VARIANT", "help": "Choose images for this variant."}),
    (("--command-timeout",), {"type": DURATION, "help": "Give up after this time."}),
    (
        ("--tmpdir",),
        {
            "metavar": "DIR",
            "type": click.Path(exists=True, file_okay=False, writable=True),
            "help": "For temporary files.",
        },
    ),
    (("--user-agent-prefix",), {"metavar": "TEXT", "help": "Said to registries before rundlet's own name."}),
    (
        ("--min-rate",),
        {
            "metavar": "BYTES",
            "type": click.IntRange(min=0),
            "help": "Give up registries that bring fewer bytes a second for 30 s (1024).",
        },
    ),
    (("--root",), {"metavar": "DIR", "envvar": "RUNDLET_ROOT", "help": f"The store ({DEFAULT_ROOT})."}),
    (
        ("--run-root",),
        {"metavar": "DIR", "envvar": "RUNDLET_RUN_ROOT", "help": "The store's run-time files."},
    ),
)


def _make_global_options(*, hidden: bool) -> list[click.Parameter]:
    return [
        click.Option(names, expose_value=False, callback=_remember, hidden=hidden, **settings)
        for names, settings in _GLOBAL
    ]


def global_options(command: Command) -> Command:
    """The options of skopeo itself, and where the store is."""
    for names, settings in reversed(_GLOBAL):
        command = click.option(*names, expose_value=False, callback=_remember, **settings)(command)
    return command


def _setting(name: str, default: Any = "") -> Any:
    return click.get_current_context().meta.get(_META, {}).get(name, default)


def open_host() -> Host:
    """The host that the group's options describe; closed when the command ends."""
    timeout_s = _setting("command_timeout", 0.0)
    if timeout_s:
        _limit_time(timeout_s)
    root, run_root, image_root, additional_roots = _list_places()
    host = Host(
        root,
        run_root,
        image_root=image_root,
        additional_roots=additional_roots,
        temporary=_setting("tmpdir") or None,
        registries_d=_setting("registries_d"),
        policy=_setting("policy"),
        insecure_policy=_setting("insecure_policy", False),
        registry_settings=_registry_settings(_setting("user_agent_prefix"), _setting("min_rate", None)),
    )
    return click.get_current_context().with_resource(host)


def open_places() -> "Places":
    """Where the store is that the group's options, or else rundlet.toml, name."""
    from rundlet.store.store import Places

    return Places(*_list_places())


def _list_places() -> tuple[str, str, str, tuple[str, ...]]:
    """(root, run root, image root, additional roots).

    rundlet.toml is the daemon's: a store that is named on the command line is another one.
    """
    root, run_root, images = DEFAULT_ROOT, DEFAULT_RUN_ROOT, ""
    additional: tuple[str, ...] = ()
    settings = _load_settings()
    if settings:
        root, run_root = settings.root, settings.run_root
        images, additional = settings.imagestore, settings.additional_image_stores
    root = _named("root") or root
    run_root = _named("run_root") or run_root
    return os.path.abspath(root), os.path.abspath(run_root), images, additional


def _named(place: str) -> str:
    """By the group's option, or the environment where a verb is used without its group."""
    return str(_setting(place)) or os.environ.get(f"RUNDLET_{place.upper()}", "")


def _load_settings() -> "Settings | None":
    """The daemon's settings where its store is meant; None where it has no file, or another store is named."""
    if _named("root") or not os.path.isdir(_CONFIGURATION):  # importing what reads it takes a while
        return None
    from rundlet.engine.configfile import load_settings

    return load_settings()


def open_supply(auth_file: str) -> "Supply":
    """Registries and policy as the daemon's pulls have them, but for what the options name; closed at the end."""
    from msgspec.structs import replace

    from rundlet.engine.provenance import make_gate, open_registries
    from rundlet.engine.settings import Settings
    from rundlet.image.supply import Supply

    named = {
        "registry_auth_file": auth_file,
        "signature_policy": _setting("policy"),
        "registries_d": _setting("registries_d"),
    }
    absolute = {key: os.path.abspath(path) for key, path in named.items() if path}
    settings = replace(_load_settings() or Settings(), **absolute)
    registries = open_registries(settings)
    click.get_current_context().call_on_close(registries.close)
    gate = None if _setting("insecure_policy", False) else make_gate(settings, registries)
    return Supply(registries, gate)


def _registry_settings(user_agent_prefix: str, rate_min_bytes_s: int | None) -> "RegistrySettings | None":
    if not user_agent_prefix and rate_min_bytes_s is None:
        return None
    from rundlet.registry.settings import RegistrySettings

    settings = RegistrySettings()
    if user_agent_prefix:
        settings = settings._replace(user_agent=f"{user_agent_prefix} {settings.user_agent}")
    return settings if rate_min_bytes_s is None else settings._replace(rate_min_bytes_s=rate_min_bytes_s)


def _limit_time(timeout_s: float) -> None:
    """A timer that ends the whole command: what was begun is left as by an interrupt."""
    import signal

    from rundlet.errors import DeadlineExceeded

    def give_up(_number: int, _frame: object) -> None:
        raise DeadlineExceeded(f"the command took longer than {timeout_s:g} s")

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)


def chosen_platform() -> Platform:
    """This host's platform, with what --override-os, -arch and -variant replace."""
    host = host_platform()
    architecture = _setting("override_arch")
    variant = _setting("override_variant", "" if architecture else host.variant)
    if not architecture:
        return Platform(_setting("override_os", host.os), host.architecture, variant)
    parsed = parse_platform(f"{_setting('override_os', host.os)}/{architecture}")
    return Platform(parsed.os, parsed.architecture, variant or parsed.variant)


_TEXT: dict[str, Any] = {"default": ""}

# --- how a registry or daemon is reached ----------------------------------------


def access_options(prefix: str = "", *, daemon: bool = True) -> Callable[[Command], Command]:
    """--creds, --tls-verify and the others, each with "src-" or "dest-" before it; see `read_access`."""
    name, key = (f"--{prefix}-" if prefix else "--"), (f"{prefix}_" if prefix else "")
    side = {"src": " of the source", "dest": " of the destination"}.get(prefix, "")
    there = {"src": " at the source", "dest": " at the destination"}.get(prefix, "")
    options: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        ((f"{name}creds", f"{key}creds"), {"metavar": "USER[:PASSWORD]", "help": f"Credentials{side}."}),
        ((f"{name}username", f"{key}username"), {"help": f"User{side}."}),
        ((f"{name}password", f"{key}password"), {"help": f"Password{side}."}),
        (
            (f"{name}no-creds", f"{key}no_creds"),
            {"is_flag": True, "default": False, "help": f"Be nobody{there}."},
        ),
        ((f"{name}registry-token", f"{key}registry_token"), {"help": f"Bearer token{side}."}),
        ((f"{name}authfile", f"{key}authfile"), {"metavar": "FILE", "help": f"auth.json{side}."}),
        ((f"{name}cert-dir", f"{key}cert_dir"), {"metavar": "DIR", "help": f"*.crt, *.cert, *.key{side}."}),
        (
            (f"{name}tls-verify/--no-{name[2:]}tls-verify", f"{key}tls_verify"),
            {"default": None, "help": f"Require HTTPS{there}, with a certificate that verifies."},
        ),
    ]
    if daemon:
        options += [
            (
                (f"{name}daemon-host", f"{key}daemon_host"),
                {"metavar": "HOST", "help": f"Docker daemon{side}."},
            ),
            (
                (f"{name}shared-blob-dir", f"{key}shared_blob_dir"),
                {"metavar": "DIR", "help": f"Blobs of several OCI layouts{side}."},
            ),
        ]

    def decorate(command: Command) -> Command:
        for names, settings in reversed(options):
            command = click.option(*names, **{**_TEXT, **settings})(command)
        return command

    return decorate


def read_access(given: dict[str, Any], prefix: str = "", *, common_auth_file: str = "") -> Access:
    """The values of `access_options` as an Access, taken out of `given`."""
    key = f"{prefix}_" if prefix else ""

    def take(name: str) -> Any:
        return given.pop(f"{key}{name}", "")

    return Access(
        credentials=_read_credentials(
            take("creds"), take("username"), take("password"), take("registry_token"), bool(take("no_creds"))
        ),
        auth_file=take("authfile") or common_auth_file or _environment_auth_file(),
        certs_dir=take("cert_dir"),
        tls_verify=given.pop(f"{key}tls_verify", None),
        daemon_host=take("daemon_host"),
        shared_blobs=take("shared_blob_dir"),
    )


def _environment_auth_file() -> str:
    import os

    return os.environ.get("REGISTRY_AUTH_FILE", "")


def _read_credentials(pair: str, user: str, password: str, token: str, nobody: bool) -> "Credentials | None":
    if sum(map(bool, (pair, user, token, nobody))) > 1:
        raise InvalidArgument("--creds, --username, --registry-token and --no-creds exclude each other")
    if bool(user) != bool(password):
        raise InvalidArgument("--username and --password need each other")
    if not (pair or user or token or nobody):
        return None
    from rundlet.registry.settings import Credentials

    if pair:
        user, _, password = pair.partition(":")
    return Credentials(username=user, password=password, registry_token=token)


def split_list(values: Sequence[str]) -> tuple[str, ...]:
    """Values of an option that may be repeated, or hold several separated by commas."""
    return tuple(part for value in values for part in value.split(",") if part)


def locate(text: str) -> Location:
    from rundlet.image.location import parse_location

    return parse_location(text)
