"""Image names and places: what is read is written as something that reads as the same."""

from rundlet.image.location import parse_location
from rundlet.spec.reference import parse_reference
from tests.fuzz.mutation import of_words
from tests.fuzz.target import again

_HEX = "0123456789abcdef" * 4
SEEDS = (
    b"redis", b"localhost/a", b"host.example:5000/a/b_c:tag", f"quay.io/x@sha256:{_HEX}".encode(), b"[::1]:5000/a:1",
    f"a:1@sha256:{_HEX}".encode(), b"docker://busybox:latest", b"oci:/a/b:name", b"dir:/x", b"docker-archive:/a.tar:b:c",
    b"oci-archive:-:n", b"docker-daemon:a:b", b"containers-storage:[overlay@/x]a", b"tarball:/a:/b", b"oci:/a@3",
)  # fmt: skip
MUTATE = of_words(
    f"sha256 sha512 {_HEX} latest docker.io library localhost :5000 @@unknown-digest@@ // oci dir"
)


def check(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    if ":" in text and text.partition(":")[0] in (
        "docker",
        "oci",
        "dir",
        "oci-archive",
        "docker-archive",
        "docker-daemon",
        "containers-storage",
        "tarball",
    ):
        location = parse_location(text)
        assert again(parse_location, str(location)) == location
        return
    reference = parse_reference(text)
    assert again(parse_reference, str(reference)) == reference
    assert reference.path
    assert reference.tag or reference.digest
