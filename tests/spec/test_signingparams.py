"""Parameter files for signing by sigstore."""

import pytest

from rundlet.errors import InvalidArgument, Unimplemented
from rundlet.spec.signingparams import SigningParameters, parse_signing_parameters


def test_a_key_and_its_passphrase():
    text = "privateKeyFile: /k\nprivateKeyPassphraseFile: /p\n"
    assert parse_signing_parameters(text, "f") == SigningParameters("/k", "/p")


@pytest.mark.parametrize("service", ["fulcio: {fulcioURL: https://f.example}", "rekorURL: https://r.example"])
def test_a_service_on_the_network_is_refused_by_name(service):
    with pytest.raises(Unimplemented, match="f: .*not supported: it needs a service on the network"):
        parse_signing_parameters(f"privateKeyFile: /k\n{service}\n", "f")


@pytest.mark.parametrize("text", ["", "[]", "a: [", "privateKeyFile: 5", "privateKeyFile: /k\nother: 1"])
def test_what_is_wrong_is_one_clear_error(text):
    with pytest.raises(InvalidArgument, match="^f: "):
        parse_signing_parameters(text, "f")
