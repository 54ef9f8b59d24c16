"""Labels as a policy would have them; the attribute itself can be set on any kernel."""

import os
from pathlib import Path

import pytest

from rundlet.engine.options import SelinuxLabel
from rundlet.engine.selinux import (
    Defaults,
    Label,
    check_label,
    choose_labels,
    choose_pod_label,
    parse_label,
    read_defaults,
    relabel,
)
from rundlet.errors import InvalidArgument

DEFAULTS = Defaults(parse_label("sys_u:sys_r:box_t:s0"), parse_label("sys_u:object_r:box_file_t:s0"))


@pytest.fixture
def host(tmp_path: Path) -> tuple[str, str]:
    """(etc/selinux, selinuxfs) of a host with the policy "strict"."""
    contexts = tmp_path / "etc/strict/contexts"
    contexts.mkdir(parents=True)
    (tmp_path / "etc/config").write_text("# comment\nSELINUX=enforcing\nSELINUXTYPE=strict\n")
    (contexts / "lxc_contexts").write_text(
        'process = "sys_u:sys_r:box_t:s0"\nfile = "sys_u:object_r:box_file_t:s0"\n'
    )
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs/enforce").write_text("1")
    return str(tmp_path / "etc"), str(tmp_path / "fs")


def test_the_hosts_labels_are_its_policys(host: tuple[str, str]) -> None:
    assert read_defaults(*host) == DEFAULTS


def test_a_policy_without_words_on_containers(host: tuple[str, str]) -> None:
    os.unlink(f"{host[0]}/strict/contexts/lxc_contexts")
    found = read_defaults(*host)
    assert found is not None
    assert found.process.type == "container_t"


def test_no_selinux_no_labels(tmp_path: Path) -> None:
    assert read_defaults(str(tmp_path), str(tmp_path)) is None


def test_every_pod_has_categories_of_its_own() -> None:
    taken: list[str] = []
    for _ in range(300):
        taken.append(choose_pod_label(SelinuxLabel(), DEFAULTS, taken))
    assert len(set(taken)) == 300
    assert all(parse_label(label)._replace(level="") == ("sys_u", "sys_r", "box_t", "") for label in taken)


def test_containers_share_their_pods_categories() -> None:
    labels = choose_labels(SelinuxLabel(), "sys_u:sys_r:box_t:s0:c1,c2", DEFAULTS, privileged=False)
    assert labels == ("sys_u:sys_r:box_t:s0:c1,c2", "sys_u:object_r:box_file_t:s0:c1,c2")


def test_what_a_container_asks_for_wins() -> None:
    wanted = SelinuxLabel(type="other_t", level="s0:c9")
    labels = choose_labels(wanted, "sys_u:sys_r:box_t:s0:c1,c2", DEFAULTS, privileged=False)
    assert labels == ("sys_u:sys_r:other_t:s0:c9", "sys_u:object_r:box_file_t:s0:c9")


def test_a_privileged_container_is_left_alone() -> None:
    labels = choose_labels(SelinuxLabel(), "sys_u:sys_r:box_t:s0:c1,c2", DEFAULTS, privileged=True)
    assert labels.process == "sys_u:sys_r:spc_t:s0"


def test_labels_read_back() -> None:
    assert str(parse_label("u:r:t:s0:c1,c2")) == "u:r:t:s0:c1,c2"
    assert parse_label("u:r:t") == Label("u", "r", "t", "")
    with pytest.raises(InvalidArgument):
        parse_label("container_t")


def test_a_label_that_the_policy_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="^security.selinux: "):
        check_label("u:r:nothing_t:s0", "security.selinux", str(tmp_path / "absent"))


def read_label(path: Path) -> bytes:
    return os.getxattr(path, "security.selinux", follow_symlinks=False)


@pytest.mark.kernel
def test_relabelling_stays_in_the_tree(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep/file").write_text("")
    outside.write_text("")
    (tree / "link").symlink_to(outside)
    relabel(str(tree), "u:object_r:t:s0", "mounts[0]")
    for path in (tree, tree / "deep", tree / "deep/file", tree / "link"):
        assert read_label(path) == b"u:object_r:t:s0\0"
    with pytest.raises(OSError, match="No data"):
        read_label(outside)


@pytest.mark.parametrize("path", ["/", "/usr", "/etc/", "/var/lib/../lib"])
def test_the_hosts_own_directories_are_not_relabelled(path: str) -> None:
    with pytest.raises(InvalidArgument, match="belongs to the host"):
        relabel(path, "u:object_r:t:s0", "mounts[0]")


def test_a_file_that_went_meanwhile_is_passed_over(tmp_path: Path) -> None:
    relabel(str(tmp_path / "absent"), "u:object_r:t:s0", "mounts[0]")
