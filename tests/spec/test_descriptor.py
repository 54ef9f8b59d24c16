import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.spec import json
from rundlet.spec.descriptor import Descriptor, Platform, host_platform, parse_platform
from rundlet.spec.digest import Digest

WORD = st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True)
PLATFORMS = st.builds(Platform, os=WORD, architecture=WORD, variant=st.just("") | WORD, os_version=st.text())
DESCRIPTORS = st.builds(
    Descriptor,
    media_type=st.text(),
    digest=st.binary().map(lambda data: str(Digest.of(data))),
    size=st.integers(0, 2**63 - 1),
    urls=st.lists(st.text(), max_size=2).map(tuple),
    annotations=st.dictionaries(st.text(), st.text(), max_size=2),
    platform=st.none() | PLATFORMS,
)


@given(descriptor=DESCRIPTORS)
def test_a_descriptor_survives_json(descriptor: Descriptor) -> None:
    assert json.decode(json.encode(descriptor), Descriptor, "descriptor") == descriptor


def test_members_are_named_as_the_specification_has_them() -> None:
    descriptor = Descriptor("a/b", "sha256:ab", 1, platform=Platform("linux", "arm", "v7", "5"))
    assert json.encode(descriptor) == (
        b'{"mediaType":"a/b","digest":"sha256:ab","size":1,'
        b'"platform":{"os":"linux","architecture":"arm","variant":"v7","os.version":"5"}}'
    )


@pytest.mark.parametrize(
    ("member", "value"),
    [("digest", '"no"'), ("digest", '"sha256:a\\n"'), ("size", "-1"), ("size", str(2**63))],
)
def test_a_wrong_member_is_named(member: str, value: str) -> None:
    members = {"mediaType": '"a"', "digest": '"sha256:ab"', "size": "1", member: value}
    raw = "{" + ",".join(f'"{key}":{text}' for key, text in members.items()) + "}"
    with pytest.raises(InvalidArgument, match=f"layer: {member}: "):
        json.decode(raw, Descriptor, "layer")


def test_a_digest_that_we_cannot_compute_is_no_fault_until_it_is_used() -> None:
    descriptor = Descriptor("a", "blake3:abc", 1)
    with pytest.raises(InvalidArgument):
        descriptor.parsed_digest()


@pytest.mark.parametrize(
    ("machine", "platform"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64/v8"),
        ("armv7l", "linux/arm/v7"),
        ("mips64", "linux/mips64"),
    ],
)
def test_the_kernel_s_machine_names_are_translated(machine: str, platform: str) -> None:
    assert str(host_platform(machine)) == platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_a_platform_is_read_as_people_write_it(text: str, platform: str) -> None:
    assert str(parse_platform(text)) == platform


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_platform(text)
