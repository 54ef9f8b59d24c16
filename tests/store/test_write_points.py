"""Whatever the store writes for good is a step with a name: the crash tests are made from those (`tests.image.crashing`)."""

import ast
from pathlib import Path

import rundlet
from tests.image import crashing

HOME = Path(rundlet.__file__).parent
FILES = [
    *sorted((HOME / "store").glob("*.py")),
    *(HOME / "image" / f"{name}.py" for name in ("pull", "layer", "stack", "storage", "repair")),
]
WRITES = {
    "os.rename",
    "os.replace",
    "os.link",
    "os.symlink",
    "os.unlink",
    "os.fsync",
    "os.fdatasync",
    "syncfs",
}
# Steps that write nothing.
QUIET = {"store.read", "store.lock", "layer.reuse", "image.config"}
# Files under the run root, which no crash outlives.
FLEETING = {"locks.py"}


def name_of(call):
    return ast.unparse(call.func)


def list_steps(node):
    """The names of the steps that a `with` statement opens."""
    calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
    return [
        call.args[0].value
        for call in calls
        if name_of(call) == "step" and isinstance(call.args[0], ast.Constant)
    ]


def list_bare_writes(node, inside=False):
    """Lines that write outside of any step."""
    inside = inside or (isinstance(node, ast.With) and bool(list_steps(node)))
    if isinstance(node, ast.Call) and name_of(node) in WRITES and not inside:
        yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from list_bare_writes(child, inside)


def test_every_rename_unlink_and_sync_is_in_a_step():
    bare = [
        f"{path.name}:{line}"
        for path in FILES
        if path.name not in FLEETING
        for line in list_bare_writes(ast.parse(path.read_text()))
    ]
    assert bare == []


def test_every_step_is_a_point_of_the_crash_tests():
    """Those of shifted layers are played by `tests/crash`, with the pods that need them."""
    opened = {
        name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.With)
        for name in list_steps(node)
    }
    commits = {"store.commit"}  # the name is handed on to where the transaction ends
    assert {
        name for name in opened if not name.startswith("shifted.")
    } | commits == crashing.STEPS | QUIET - {"store.read"}
