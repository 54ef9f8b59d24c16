"""execve(2) that cannot be led to this process's own interpreter (CVE-2019-5736).

A process that is about to become a container's still is the host's python, and what
it executes lies in a root file system that somebody else may be changing right now:
a link to /proc/self/exe, or a script with #!/proc/self/exe, would run the host's
python inside, and then /proc/PID/exe is a way to overwrite it.  So no path is left
to the kernel: the program is opened without following such links, a script's first
line is read here and its interpreter opened the same way, and execve takes a
descriptor.  That one closes on exec, hence a file that turns into a script between
our look and the kernel's is refused by the kernel (execveat(2), BUGS).

The keeper needs none of this: its interpreter lies on a read-only mount.  Before
Linux 6.14 a program run by descriptor shows its number as the command's name, so
there `rundlet-runtime` runs from such a mount too (`rundlet.oci.interpreter`).
"""

import errno
import os
from collections.abc import Sequence
from typing import NoReturn

from rundlet.errors import PermissionDenied
from rundlet.kernel.openat2 import open_in_root

_INTERPRETERS_MAX = 5  # as many as the kernel follows
_FIRST_LINE_MAX_BYTES = 256


def execute_by_descriptor(path: str, args: Sequence[str], environment: dict[str, str]) -> NoReturn:
    """Raises OSError, or PermissionDenied where the path leads through /proc out of the root."""
    words = [*args]
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for _ in range(_INTERPRETERS_MAX):
        program = _open_program(root, path)
        first_line = _read_first_line(root, path)
        if not first_line.startswith(b"#!"):
            os.execve(program, words, environment)
        interpreter, *argument = _split_first_line(first_line)
        words = [interpreter, *argument, path, *words[1:]]
        path = interpreter
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _open_program(root: int, path: str) -> int:
    try:
        return open_in_root(root, os.path.join(os.getcwd(), path), os.O_PATH)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise PermissionDenied(
            f"exec {path!r}: a link of /proc to something open",
            hint="a program must be a file of the container",
        ) from error


def _read_first_line(root: int, path: str) -> bytes:
    """Empty for a file that may be executed and not read, which is no script."""
    try:
        fd = open_in_root(root, os.path.join(os.getcwd(), path), os.O_RDONLY | os.O_NONBLOCK)
    except PermissionError:
        return b""
    try:
        return os.read(fd, _FIRST_LINE_MAX_BYTES).split(b"\n", 1)[0]
    finally:
        os.close(fd)


def _split_first_line(line: bytes) -> list[str]:
    """The interpreter and its one argument (execve(2), "Interpreter scripts")."""
    words = os.fsdecode(line[2:].strip(b" \t")).replace("\t", " ").split(" ", 1)
    if not words[0]:
        raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC))
    return [word.strip(" ") for word in words]
