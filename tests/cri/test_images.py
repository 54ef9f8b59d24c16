import base64

import pytest

from rundlet.cri.images import credentials_from
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import InvalidArgument
from rundlet.registry.client import Credentials


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({"username": "u", "password": "p"}, Credentials("u", "p")),
        ({"auth": base64.b64encode(b"u:p:q").decode()}, Credentials("u", "p:q")),
        ({"auth": "ignored", "username": "u"}, Credentials("u", "")),
        ({"identity_token": "t"}, Credentials(identity_token="t")),
        ({"registry_token": "t"}, Credentials(registry_token="t")),
    ],
)
def test_credentials(auth, expected):
    assert credentials_from(api.AuthConfig(**auth)) == expected


@pytest.mark.parametrize("auth", ["not base64!", base64.b64encode(b"\xff:x").decode()])
def test_bad_credentials(auth):
    with pytest.raises(InvalidArgument):
        credentials_from(api.AuthConfig(auth=auth))
