"""registries.conf, versions 1 and 2: read, merged, and asked for the places of an image."""

from rundlet.registry.endpoints import find_endpoints, list_choices
from rundlet.spec.reference import parse_reference
from rundlet.spec.registries import merge_registries, parse_registries
from tests.fuzz.mutation import of_words

_FULL = """unqualified-search-registries = ["docker.io", "quay.io:5000"]
short-name-mode = "enforcing"
credential-helpers = ["x"]
[aliases]
"redis" = "docker.io/library/redis"
[[registry]]
prefix = "*.example"
location = "mirror.example/x"
insecure = true
blocked = false
[[registry]]
prefix = "docker.io"
location = "r.example:5000/hub"
[[registry.mirror]]
location = "m.example"
pull-from-mirror = "digest-only"
"""
_OLD = '[registries.search]\nregistries = ["docker.io"]\n[registries.insecure]\nregistries = ["a:5000"]\n[registries.block]\nregistries = []\n'
SEEDS = (_FULL.encode(), _OLD.encode(), b"")
MUTATE = of_words(
    "registry [[registry]] [aliases] prefix location insecure true false docker.io *. mirror ''' \"\"\" 1979-05-27 0x1 inf"
)
_IMAGES = tuple(map(parse_reference, ("redis", "a.example/b:c", "r.example:5000/hub/x@sha256:" + "0" * 64)))


def check(data: bytes) -> None:
    file = parse_registries(data.decode(errors="replace"), "registries.conf")
    drop_in = parse_registries("[[registry]]\nlocation = 'docker.io'\n", "drop-in", drop_in=True)
    conf = merge_registries((file, drop_in))
    for image in _IMAGES:
        find_endpoints(conf, image)
    assert isinstance(list_choices(conf, "redis"), tuple)
