"""Which policy.json counts."""

import pytest

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.spec.policy import ACCEPT_ANYTHING, REJECT_ALL
from rundlet.trust.policyfile import PolicyFiles, load_policy

REJECT = '{"default": [{"type": "reject"}]}'
ACCEPT = '{"default": [{"type": "insecureAcceptAnything"}]}'


@pytest.fixture
def files(tmp_path):
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns/strict.json").write_text(REJECT)
    (tmp_path / "system.json").write_text(ACCEPT)
    usual = (str(tmp_path / "user.json"), str(tmp_path / "system.json"))
    return PolicyFiles(usual=usual, directory=str(tmp_path / "ns"))


def test_the_first_of_the_usual_files(files, tmp_path):
    assert load_policy(files).path == str(tmp_path / "system.json")
    (tmp_path / "user.json").write_text(REJECT)
    assert load_policy(files).policy == REJECT_ALL


def test_a_namespace_s_own(files):
    assert load_policy(files, "strict").policy == REJECT_ALL
    assert load_policy(files, "other").policy == ACCEPT_ANYTHING
    assert load_policy(files._replace(directory=""), "strict").policy == ACCEPT_ANYTHING


@pytest.mark.parametrize("namespace", ["../system", "a/b", "UPPER", ".", "-a"])
def test_a_namespace_is_no_path(files, namespace):
    with pytest.raises(InvalidArgument, match="namespace"):
        load_policy(files, namespace)


def test_the_named_file_must_be_there(files, tmp_path):
    named = files._replace(path=str(tmp_path / "named.json"))
    with pytest.raises(NotFound, match=r"named\.json"):
        load_policy(named)
    (tmp_path / "named.json").write_text(REJECT)
    assert load_policy(named).policy == REJECT_ALL


def test_without_any_file_everything_is_accepted(files):
    assert load_policy(files._replace(usual=())).path == ""


def test_a_broken_file_is_never_passed_over(files, tmp_path):
    (tmp_path / "user.json").write_text('{"default": []}')
    with pytest.raises(InvalidArgument, match=r"user\.json: default: no requirements"):
        load_policy(files)
    (tmp_path / "user.json").write_bytes(b"\xff")
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        load_policy(files)
    (tmp_path / "user.json").unlink()
    (tmp_path / "user.json").symlink_to("user.json")
    with pytest.raises(FailedPrecondition, match="cannot read"):
        load_policy(files)
