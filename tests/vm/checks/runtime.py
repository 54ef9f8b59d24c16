"""A container by `rundlet-runtime`, as an engine calls it."""

import json
import os
import shutil
import subprocess
import sys

MIB = 1 << 20
BUNDLE = "/run/oci-bundle"
APPLETS = "sh cat sleep ls stty hostname mkdir grep tail".split()
LIMITS = {
    "memory": {"limit": 64 * MIB, "swap": 96 * MIB},
    "pids": {"limit": 20},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    "devices": [{"allow": False, "access": "rwm"}],
}


def make_bundle(cgroups_path, *argv, change=None):
    """`change` gets the configuration before it is written."""
    shutil.rmtree(BUNDLE, ignore_errors=True)
    os.makedirs(f"{BUNDLE}/rootfs/bin")
    shutil.copy("/bin/busybox", f"{BUNDLE}/rootfs/bin/busybox")
    for name in APPLETS:
        os.symlink("busybox", f"{BUNDLE}/rootfs/bin/{name}")
    config = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {
            "cwd": "/",
            "args": [*argv] or ["sleep", "100"],
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        ],
        "linux": {
            "cgroupsPath": cgroups_path,
            "resources": LIMITS,
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network", "cgroup")],
        },
    }
    if change is not None:
        change(config)
    with open(f"{BUNDLE}/config.json", "w") as file:
        json.dump(config, file)


_MAIN = "import sys; sys.path.insert(0, '/src'); from rundlet.oci.entry import main; sys.exit(main())"
COMMAND = [sys.executable, "-I", "-S", "-c", _MAIN]


def call(*arguments):
    """Its output; raises with that when it fails.  A file, since the container keeps it open."""
    with open("/run/oci-output", "w+") as output:
        done = subprocess.run(
            [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
        output.seek(0)
        text = output.read()
    assert done.returncode == 0, text
    return text


def run_container(cgroups_path, *flags, limit_file="memory.max"):
    """Create, start, update, pause, resume, exec and delete it.

    Stops after create with what /proc says of its group, and before delete.
    """
    make_bundle(cgroups_path)
    state = "/run/oci-state"
    call(*flags, "--root", state, "create", "--bundle", BUNDLE, "--pid-file", "/run/oci.pid", "box")
    with open("/run/oci.pid") as file:
        pid = int(file.read())
    with open(f"/proc/{pid}/cgroup") as file:
        yield file.read()
    call(*flags, "--root", state, "start", "box")
    call(*flags, "--root", state, "update", "--pids-limit", "30", "box")
    call(*flags, "--root", state, "pause", "box")
    assert json.loads(call(*flags, "--root", state, "state", "box"))["status"] == "paused"
    call(*flags, "--root", state, "resume", "box")
    text = call(*flags, "--root", state, "exec", "box", "cat", f"/sys/fs/cgroup/{limit_file}")
    assert text == f"{64 * MIB}\n", text
    yield "started"
    call(*flags, "--root", state, "delete", "--force", "box")


def watch_memory(cgroups_path):
    """The kinds of events of a container that is killed for want of memory, in order."""
    go = f"{BUNDLE}/rootfs/go"
    make_bundle(cgroups_path, "sh", "-c", "until [ -e /go ]; do sleep 0.05; done; tail /dev/zero; sleep 0.2")
    state = ("--root", "/run/oci-state")
    call(*state, "run", "--detach", "--bundle", BUNDLE, "box")
    command = [*COMMAND, *state, "events", "--interval", "50ms", "box"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        kinds = [json.loads(events.stdout.readline())["type"]]
        with open(go, "w"):
            kinds += [json.loads(line)["type"] for line in events.stdout]
    call(*state, "delete", "--force", "box")
    assert events.returncode == 0
    return kinds
