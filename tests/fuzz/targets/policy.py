"""policy.json of containers/image: whatever is let in is a policy as a whole."""

import json

from rundlet.spec.policy import parse_policy
from tests.fuzz.mutation import of_json

_SIGNED = {
    "type": "signedBy",
    "keyType": "GPGKeys",
    "keyPath": "/k",
    "signedIdentity": {"type": "matchRepository"},
}
_SIGSTORE = {
    "type": "sigstoreSigned", "rekorPublicKeyPath": "/r",
    "fulcio": {"caPath": "/c", "oidcIssuer": "https://i", "subjectEmail": "a@b"},
    "signedIdentity": {"type": "remapIdentity", "prefix": "a.example/x", "signedPrefix": "b.example/y"},
}  # fmt: skip
_FULL = {
    "default": [{"type": "reject"}],
    "transports": {
        "docker": {
            "docker.io/library/redis:7": [_SIGNED], "docker.io": [{"type": "insecureAcceptAnything"}], "*.example": [_SIGSTORE],
            "": [{**_SIGNED, "signedIdentity": {"type": "exactReference", "dockerReference": "a.example/b:c"}}],
        },
        "dir": {"/a/b": [{"type": "reject"}]},
        "oci": {"/a:x": [{"type": "sigstoreSigned", "keyDatas": ["YQ=="], "signedIdentity": {"type": "exactRepository", "dockerRepository": "a.example/b"}}]},
    },
}  # fmt: skip
SEEDS = (json.dumps(_FULL).encode(), b'{"default":[{"type":"insecureAcceptAnything"}]}')
MUTATE = of_json(
    "signedBy sigstoreSigned reject insecureAcceptAnything GPGKeys signedByGPGKeys matchExact keyPath keyData pki * *."
)


def check(data: bytes) -> None:
    policy = parse_policy(data, "policy.json")
    assert policy.default
    assert all(rules for scopes in policy.transports.values() for rules in scopes.values())
