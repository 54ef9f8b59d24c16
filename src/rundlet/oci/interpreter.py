"""Where this process's own interpreter must be out of its containers' reach (`rundlet.runtime.guard`)."""

import os
import sys

_NAMED_SINCE = (6, 14)
_MARK = "RUNDLET_PRIVATE_INTERPRETER"  # taken out of the environment again
_BOOTSTRAP = (
    "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); from rundlet.oci.entry import main; main()"
)


def needs_private_interpreter(release: str) -> bool:
    """Whether a kernel of `release` ("6.1.0-18-amd64") would name the program by a number."""
    numbers = release.replace("-", ".").split(".")
    return tuple(int(number) if number.isdigit() else 0 for number in numbers[:2]) < _NAMED_SINCE


def ensure_private() -> None:
    """Start again where it is needed and has not been done."""
    if os.environ.pop(_MARK, "") != "1" and needs_private_interpreter(os.uname().release):
        _run_privately()


def _run_privately() -> None:
    """Start again from a read-only mount of the interpreter that no path leads to (`rundlet.runtime.guard`).

    Where that is not permitted nobody's container can reach the interpreter either:
    it belongs to somebody else then.
    """
    from rundlet.kernel import mount

    executable = os.path.realpath(sys.executable)
    try:
        fd = mount.open_tree(executable)
        mount.mount_setattr(fd, set_attrs=mount.MOUNT_ATTR_RDONLY)
    except OSError:
        return
    argv = [executable, "-I", "-S", "-c", _BOOTSTRAP, ":".join(sys.path), *sys.argv[1:]]
    os.execve(fd, argv, {**os.environ, _MARK: "1"})
