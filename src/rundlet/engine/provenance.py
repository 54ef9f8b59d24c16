"""Where an engine's images may come from: registries as its settings and the host's files say, and the gate."""

from rundlet.engine.settings import Settings
from rundlet.registry.access import Registries
from rundlet.registry.places import AuthPlace, Places, find_places
from rundlet.registry.settings import RegistrySettings
from rundlet.trust.gate import Gate
from rundlet.trust.policyfile import PolicyFiles


def open_registries(settings: Settings) -> Registries:
    """The host's usual files, but for what the settings name."""
    return Registries(*_describe_registries(settings))


def reload_registries(registries: Registries, settings: Settings) -> None:
    """Have them go by other settings; errors as `Registries.reload`."""
    registries.reload(*_describe_registries(settings))


def _describe_registries(settings: Settings) -> tuple[RegistrySettings, Places]:
    places = choose_places(settings, find_places())
    transport = RegistrySettings(
        insecure_hosts=settings.insecure_registries,
        certs_dirs=places.certs_dirs,
        rate_min_bytes_s=settings.registry_min_rate,
    )
    return transport, places


def choose_places(settings: Settings, usual: Places) -> Places:
    """`usual` with the files that the settings name in their places."""
    places = usual
    if settings.registries_conf:
        places = places._replace(registries_conf=settings.registries_conf, registries_conf_named=True)
    if settings.registry_certs_dir:
        places = places._replace(certs_dirs=(settings.registry_certs_dir,))
    if settings.registry_auth_file:
        places = places._replace(auth=(AuthPlace(settings.registry_auth_file),))
    return places


def make_gate(settings: Settings, registries: Registries) -> Gate:
    """What every pull asks before it publishes an image."""
    return Gate(registries, _name_policies(settings, registries), settings.registries_d)


def reload_gate(gate: Gate, settings: Settings, registries: Registries) -> None:
    """Have it ask the files that other settings name."""
    gate.reload(_name_policies(settings, registries), settings.registries_d)


def _name_policies(settings: Settings, registries: Registries) -> PolicyFiles:
    return PolicyFiles(settings.signature_policy, registries.places.policies, settings.signature_policy_dir)
