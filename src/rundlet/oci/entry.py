"""The command's first module: stand-ins in place, then everything else."""

import gc
import os
import sys

_MARK = "RUNDLET_PRIVATE_INTERPRETER"  # taken out of the environment again
_BOOTSTRAP = (
    "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); from rundlet.oci.entry import main; main()"
)


def main() -> None:
    gc.disable()  # one short life: collecting would only cost
    from rundlet.oci import lean

    lean.install()
    from rundlet.runtime.guard import needs_private_interpreter

    if os.environ.pop(_MARK, "") != "1" and needs_private_interpreter(os.uname().release):
        _run_privately()
    from rundlet.oci.main import main as run_main

    run_main()


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


if __name__ == "__main__":
    main()
