"""A CNI plugin that is a program: parameters by environment, configuration on stdin, JSON back on stdout.

CNI SPEC.md §2 ("Execution Protocol").  What a plugin may take is bounded: time,
and bytes of output.
"""

import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence

from rundlet.errors import (
    DeadlineExceeded,
    Error,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from rundlet.network.call import Call
from rundlet.spec import json
from rundlet.spec.cni import VERSIONS, Result, parse_error, parse_result, parse_versions
from rundlet.step import step
from rundlet.trace.span import waits

OUTPUT_MAX_BYTES = 1 << 20

# CNI SPEC.md §4 "Error": below 100 reserved, 11 "try again later", 50 and 51 "not available".
_CLASSES: dict[int, type[Error]] = {
    1: Unimplemented,
    2: Unimplemented,
    3: FailedPrecondition,
    4: InvalidArgument,
    6: InvalidArgument,
    7: InvalidArgument,
}


_OF_NOBODY = {"STATUS", "GC"}


class Program:
    """The plugin `type` in the first of `bin_dirs` that has it; `Plugin` over exec."""

    def __init__(self, bin_dirs: Sequence[str], *, timeout_s: float) -> None:
        self._bin_dirs = bin_dirs
        self._timeout_s = timeout_s
        self._versions: dict[tuple[str, int, int], tuple[str, ...]] = {}

    def add(self, call: Call) -> Result:
        return parse_result(self._run("ADD", call), call.version, f"{call.what}: result")

    def delete(self, call: Call) -> None:
        self._run("DEL", call)

    def check(self, call: Call) -> None:
        self._run("CHECK", call)

    def status(self, call: Call) -> None:
        self._run("STATUS", call)

    def collect(self, call: Call) -> None:
        self._run("GC", call)

    def require(self, kind: str, version: str) -> None:
        """FailedPrecondition when there is no such program, or it says that it knows no `version` of CNI."""
        path = self.find(kind)
        offered = self._read_versions(path)
        if offered and version not in offered:
            raise FailedPrecondition(
                f"CNI plugin {path} does not know version {version}",
                hint=f"it knows {', '.join(offered)}: set cniVersion to one of these",
            )

    def _read_versions(self, path: str) -> tuple[str, ...]:
        """What VERSION answers, asked once for each state of the file; nothing from one that does not know it."""
        stat = os.stat(path)
        key = (path, stat.st_mtime_ns, stat.st_ino)
        if key not in self._versions:
            environment = os.environ | {"CNI_COMMAND": "VERSION", "CNI_PATH": os.pathsep.join(self._bin_dirs)}
            question = json.encode({"cniVersion": VERSIONS[-1]})
            code, output, _ = _execute(path, environment, question, self._timeout_s, f"{path}: VERSION")
            try:
                self._versions[key] = parse_versions(output, path) if code == 0 else ()
            except InvalidArgument:
                self._versions[key] = ()
        return self._versions[key]

    def find(self, kind: str) -> str:
        """The plugin's path; FailedPrecondition when no directory has it."""
        for directory in self._bin_dirs:
            path = os.path.join(directory, kind)
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return path
        raise FailedPrecondition(
            f"CNI plugin {kind} is not in {', '.join(self._bin_dirs) or 'any directory'}",
            hint="install it (Debian: containernetworking-plugins), or name its directory",
        )

    def _run(self, command: str, call: Call) -> bytes:
        path = self.find(call.type)
        environment = os.environ | _parameters(command, call, self._bin_dirs)
        what = f"{call.what}: {command}"
        code, output, complaint = _execute(path, environment, json.encode(call.conf), self._timeout_s, what)
        if code != 0:
            raise _failure(what, code, output, complaint)
        return output


def _parameters(command: str, call: Call, bin_dirs: Sequence[str]) -> dict[str, str]:
    pod = call.attachment
    if command in _OF_NOBODY:
        return {"CNI_COMMAND": command, "CNI_PATH": os.pathsep.join(bin_dirs)}
    for key, value in pod.args:
        if ";" in value or "\0" in value:
            raise InvalidArgument(f"{call.what}: {key} {value!r} cannot be given to a CNI plugin")
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": pod.netns_path,
        "CNI_IFNAME": pod.ifname,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in pod.args),
        "CNI_PATH": os.pathsep.join(bin_dirs),
    }


def _execute(
    path: str, environment: dict[str, str], configuration: bytes, timeout_s: float, what: str
) -> tuple[int, bytes, bytes]:
    """(exit code, stdout, stderr) of the program, in a process group of its own that is killed at the end."""
    # A file, not a pipe: a plugin that never reads cannot block us.
    with tempfile.TemporaryFile() as stdin:
        stdin.write(configuration)
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                [path],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                process_group=0,
            )
        except OSError as error:
            raise Unavailable(f"{what}: cannot run {path}: {error.strerror}") from error
    with process, step("plugin.run", what):
        waits("process", path, process.pid, timeout_s)
        deadline = time.monotonic() + timeout_s
        try:
            output, complaint = _collect(process, deadline, what)
            # It may have closed its output and go on.
            return process.wait(max(0.0, deadline - time.monotonic())), output, complaint
        except subprocess.TimeoutExpired as error:
            raise DeadlineExceeded(f"{what}: the plugin did not end in time") from error
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)


def _collect(process: subprocess.Popen[bytes], deadline: float, what: str) -> tuple[bytes, bytes]:
    """stdout and stderr to their ends; DeadlineExceeded or ResourceExhausted when there is none in sight."""
    output, complaint = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for stream, buffer in ((process.stdout, output), (process.stderr, complaint)):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, buffer)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise DeadlineExceeded(f"{what}: the plugin did not end in time")
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                key.data.extend(chunk)
                if len(key.data) > OUTPUT_MAX_BYTES:
                    raise ResourceExhausted(f"{what}: the plugin wrote more than {OUTPUT_MAX_BYTES} bytes")
    return bytes(output), bytes(complaint)


def _failure(what: str, exit_code: int, output: bytes, complaint: bytes) -> Error:
    """The plugin's own error when it printed one, else what it said on stderr."""
    try:
        error = parse_error(output)
    except InvalidArgument:
        said = " ".join((complaint or output).decode(errors="replace").split())[-500:]
        return Unavailable(f"{what}: the plugin ended with code {exit_code}: {said or 'without a word'}")
    text = " ".join(f"{error.msg}: {error.details}".strip(": ").split())
    return _CLASSES.get(error.code, Unavailable)(f"{what}: {text} (CNI error {error.code})")
