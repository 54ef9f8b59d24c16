import pytest

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import Layout
from rundlet.cgroup.systemd import SystemdGroup, expand_slice, open_group, parse_unit_path
from rundlet.errors import InvalidArgument, Unavailable

V2 = Layout(2, {"": "/cg", "memory": "/cg"}, {"": "/me", "memory": "/me"})


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("-.slice", ""),
        ("system.slice", "/system.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
        ("kubepods-pod_1.slice", "/kubepods.slice/kubepods-pod_1.slice"),
    ],
)
def test_slices_lie_in_the_slices_they_are_named_after(name, path):
    assert expand_slice(name) == path


@pytest.mark.parametrize(
    "name", ["", ".slice", "a", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", "a b.slice", "a..b.slice"]
)
def test_what_is_no_slice(name):
    with pytest.raises(InvalidArgument):
        expand_slice(name)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("system.slice:rundlet:web", "/system.slice/rundlet-web.scope"),
        (":rundlet:web", "/system.slice/rundlet-web.scope"),
        ("machine-a.slice::web", "/machine.slice/machine-a.slice/web.scope"),
        ("-.slice:r:x", "/r-x.scope"),
    ],
)
def test_notation(text, path):
    group = open_group(V2, text)
    assert isinstance(group, SystemdGroup)
    assert group.path == path
    assert group.directory("memory") == f"/cg{path}"


@pytest.mark.parametrize(
    "text",
    ["system.slice:rundlet:", "a:b:c", "system.slice:a/b:c", "system.slice:a:b c", "/a:b:c", "a.slice:b"],
)
def test_bad_notation(text):
    with pytest.raises(InvalidArgument):
        parse_unit_path(text)


def test_on_a_hybrid_machine_systemd_must_see_that_the_scope_has_processes():
    hybrid = Layout(1, {"memory": "/cg/memory"}, {"memory": "/"}, "/cg/unified")
    scope = "system.slice/rundlet-web.scope"
    assert open_group(hybrid, ":rundlet:web").join_files() == (
        f"/cg/memory/{scope}/tasks",
        f"/cg/unified/{scope}/cgroup.procs",
    )
    assert open_group(hybrid, "/web").join_files() == ("/cg/memory/web/tasks",)


def test_other_paths_are_plain_groups():
    assert type(open_group(V2, "/kubepods/a:b:c")) is Group


def test_a_machine_without_systemd_says_so_and_leaves_no_holder(tmp_path):
    group = SystemdGroup(V2, ":rundlet:web", address=str(tmp_path / "none"))
    with pytest.raises(Unavailable):
        group.make()
    assert group._holder == 0
