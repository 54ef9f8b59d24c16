"""How a sigstore signature is to be made: `--sign-by-sigstore` (containers-sigstore-signing-params.yaml(5)).

privateKeyFile: /etc/pki/team.private          a sealed key, and where its passphrase is
privateKeyPassphraseFile: /etc/pki/team.pass
fulcio: {fulcioURL: …, oidcMode: …}            a certificate of Fulcio's instead of a key
rekorURL: …                                    and an entry in Rekor's log
"""

from typing import Any

import yaml
from msgspec import Struct

from rundlet.errors import InvalidArgument, Unimplemented
from rundlet.spec.json import convert


class SigningParameters(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A key in a file; the passphrase's file is "" when it is not said."""

    private_key_file: str
    private_key_passphrase_file: str = ""


def parse_signing_parameters(text: str, what: str) -> SigningParameters:
    """InvalidArgument "FILE: privateKeyFile: …"; Unimplemented for what asks a service on the network."""
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{what}: {' '.join(str(error).split())}") from error
    for key, service in (("fulcio", "Fulcio"), ("rekorURL", "Rekor")):
        if isinstance(value, dict) and key in value:
            raise Unimplemented(
                f"{what}: {key}: signing with {service} is not supported: it needs a service on the network",
                hint="privateKeyFile signs without one",
            )
    return convert(value, SigningParameters, what)
