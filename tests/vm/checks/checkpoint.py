"""Checks of `rundlet-runtime checkpoint` and `restore` with the real criu."""

import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import termios

import runtime

STATE = "/run/oci-state"
IMAGES = "/run/images"
GROUPS = "/sys/fs/cgroup/check"
OUTSIDE = "/run/outside"
COUNT = "i=0; until [ -e /end ]; do i=$((i+1)); echo $i; sleep 0.02; done; exit 7"


class Box:
    """A container named `box` whose output is a pipe or a terminal of ours, gone at the end of a check."""

    def __init__(self, *argv, change=None):
        for directory in (IMAGES, f"{IMAGES}-work", OUTSIDE):
            shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(OUTSIDE)
        runtime.make_bundle("/check/box", *argv, change=change)
        self.output = -1

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            show_logs()
        for name in list_boxes():
            self.ask("delete", "--force", name)
        os.close(self.output)
        assert not list_boxes()
        assert not os.path.exists(GROUPS) or not [entry for entry in os.scandir(GROUPS) if entry.is_dir()]

    def call(self, *arguments, **options):
        return subprocess.run([*runtime.COMMAND, "--root", STATE, *arguments], check=False, **options)

    def ask(self, *arguments):
        """A command that has nothing to do with the container's stdio; its output."""
        done = self.call(*arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refuse(self, *arguments):
        """What a command that fails says."""
        done = self.call(*arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 1, done
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    def do(self, *arguments, code=0):
        """A command that gives its stdio to the container: a pipe of which this end is ours."""
        if self.output >= 0:
            os.close(self.output)
        self.output, writer = os.pipe()
        done = self.call(*arguments, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
        os.close(writer)
        assert done.returncode == code, os.read(self.output, 4096)

    def do_by_console(self, *arguments):
        """A command of a detached container with a terminal, whose master comes through a socket."""
        with socket.socket(socket.AF_UNIX) as listener, contextlib.suppress(FileNotFoundError):
            listener.bind("/run/console.sock")
            listener.listen()
            self.ask_quietly(*arguments, "--console-socket", "/run/console.sock")
            connection, _ = listener.accept()
            _, (self.output,), _, _ = socket.recv_fds(connection, 64, 1)
            connection.close()
        os.unlink("/run/console.sock")

    def ask_quietly(self, *arguments):
        """Output goes to a file: a detached container may keep it open."""
        with open("/run/oci-error", "w+") as error:
            done = self.call(*arguments, stdin=subprocess.DEVNULL, stdout=error, stderr=error)
            error.seek(0)
            assert done.returncode == 0, error.read()

    def read_line(self):
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([self.output], [], [], 20)[0], f"nothing came after {line!r}"
            byte = os.read(self.output, 1)
            assert byte, "the output has ended"
            line += byte
        return line.decode().strip()

    def count_to(self, wanted):
        """Read on until the counter is there; what it said last."""
        while (last := int(self.read_line())) < wanted:
            pass
        return last

    def read_rest(self):
        """The last number of an output that has ended."""
        rest = b""
        with contextlib.suppress(OSError):  # a terminal ends so
            while chunk := os.read(self.output, 1 << 16):
                rest += chunk
        return int(rest.split()[-1])

    def run(self, *flags):
        self.do("run", "--detach", *flags, "--bundle", runtime.BUNDLE, "box")

    def checkpoint(self, *flags):
        self.ask("checkpoint", "--image-path", IMAGES, *flags, "box")

    def restore(self, *flags, name="box", **options):
        self.do("restore", "--bundle", runtime.BUNDLE, "--image-path", IMAGES, *flags, name, **options)

    def status(self, name="box"):
        return json.loads(self.ask("state", name))["status"]


def list_boxes():
    return [name for name in os.listdir(STATE) if name[0] != "."] if os.path.isdir(STATE) else []


def show_logs():
    for directory in (IMAGES, f"{IMAGES}-work"):
        for name in ("dump.log", "restore.log"):
            with contextlib.suppress(FileNotFoundError), open(f"{directory}/{name}") as file:
                sys.stdout.write(
                    f"--- {directory}/{name}\n" + "".join(line for line in file if "pie" not in line)
                )
    sys.stdout.flush()


def with_python(*lines):
    """A container's program in Python, whose files the host gives it; `i` and `tell(i)` count."""
    head = "import os, socket, fcntl, time; tell = lambda i: os.write(1, b'%d\\n' % i)"
    return ["/usr/bin/python3.11", "-I", "-S", "-c", "\n".join((head, *lines))]


def bind_host(config):
    for path in ("/usr", "/lib", "/lib64"):
        if os.path.isdir(path):
            mount = {"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}
            config["mounts"].append(mount)
    outside = {"destination": OUTSIDE, "type": "bind", "source": OUTSIDE, "options": ["bind", "rw"]}
    config["mounts"].append(outside)


def use_host_network(config):
    """criu knows the peers of unix sockets by namespace."""
    bind_host(config)
    spaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [item for item in spaces if item["type"] != "network"]


def use_loopback(config):
    bind_host(config)
    sets = ("bounding", "effective", "permitted")
    config["process"]["capabilities"] = {name: ["CAP_NET_ADMIN"] for name in sets}


def use_terminal(config):
    config["process"]["terminal"] = True
    devpts = {"destination": "/dev/pts", "type": "devpts", "source": "devpts"}
    config["mounts"].append({**devpts, "options": ["newinstance", "ptmxmode=0666", "mode=0620"]})


def be_rich(config):
    """What an engine's containers have."""
    bind_host(config)
    config["hostname"] = "box"
    config["linux"]["maskedPaths"] = ["/proc/kcore", "/proc/keys", "/proc/scsi", "/proc/nosuch"]
    config["linux"]["readonlyPaths"] = ["/proc/sys", "/proc/irq"]
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }
    config["mounts"].append(
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["size=64k"]}
    )
    config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]})
    config["mounts"].sort(key=lambda mount: mount["destination"])
    with open(f"{OUTSIDE}/hosts", "w") as file:
        file.write("127.0.0.1 localhost\n")
    hosts = {
        "destination": "/etc/hosts",
        "type": "bind",
        "source": f"{OUTSIDE}/hosts",
        "options": ["bind", "ro"],
    }
    config["mounts"].append(hosts)


def check_a_container_as_engines_make_them_counts_on():
    with Box("sh", "-c", COUNT, change=be_rich) as box:
        box.run()
        box.count_to(5)
        box.checkpoint("--work-path", f"{IMAGES}-work")
        assert os.path.exists(f"{IMAGES}-work/dump.log")
        assert not list_boxes()
        last = box.read_rest()
        box.restore("--detach", "--work-path", f"{IMAGES}-work", "--pid-file", "/run/oci.pid")
        assert int(box.read_line()) == last + 1
        state = json.loads(box.ask("state", "box"))
        with open("/run/oci.pid") as file:
            assert (state["status"], state["pid"]) == ("running", int(file.read()))
        script = "cat /proc/kcore /etc/hosts; ls /proc/scsi; hostname; cat /sys/fs/cgroup/memory.max; mkdir /x || echo no"
        done = box.call("exec", "box", "sh", "-c", script, capture_output=True, text=True)
        assert done.stdout.split() == ["127.0.0.1", "localhost", "box", str(64 << 20), "no"], done


def check_left_running_and_restored_under_another_name_in_the_foreground():
    with Box("sh", "-c", COUNT) as box:
        box.run()
        box.count_to(3)
        box.checkpoint("--leave-running")
        assert box.status() == "running"
        box.count_to(box.count_to(1) + 5)
        box.ask("delete", "--force", "box")
        runtime.make_bundle("/check/twin", "sh", "-c", f"read group < /proc/self/cgroup; {COUNT}")
        with open(f"{runtime.BUNDLE}/rootfs/end", "w"):
            box.restore(name="twin", code=7)
        assert not list_boxes()


def check_after_a_pre_dump_connections_live_on():
    program = with_python(
        "fcntl.ioctl(socket.socket(), 0x8914, b'lo'.ljust(16, b'\\0') + b'\\x49\\0')  # SIOCSIFFLAGS: up",
        "server = socket.create_server(('127.0.0.1', 5000)); near = socket.create_connection(('127.0.0.1', 5000))",
        "far, _ = server.accept(); hoard = bytearray(b'x') * (8 << 20); i = 0",
        "while True: i += 1; near.send(b'x'); far.recv(1); tell(i); time.sleep(.02)",
    )
    with Box(*program, change=use_loopback) as box:
        box.run()
        box.count_to(3)
        said = box.refuse("checkpoint", "--image-path", IMAGES, "box")
        assert "tcp-established" in said, said
        box.count_to(box.count_to(1) + 5)
        box.ask("checkpoint", "--image-path", f"{IMAGES}/first", "--pre-dump", "box")
        assert box.status() == "running"
        box.checkpoint("--tcp-established", "--parent-path", "first")
        first, second = (os.stat(f"{path}/pages-1.img").st_size for path in (f"{IMAGES}/first", IMAGES))
        assert second < first - (8 << 20), (first, second)
        last = box.read_rest()
        box.restore("--detach", "--tcp-established")
        assert int(box.read_line()) == last + 1
        box.count_to(last + 5)


def check_sockets_of_the_host_and_locks():
    program = with_python(
        "near = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); near.connect('/run/outside/log')",
        "file = open('/tmp.lock', 'w'); fcntl.flock(file, fcntl.LOCK_EX); i = 0",
        "while True: i += 1; near.send(b'%d' % i); tell(i); time.sleep(.02)",
    )
    with (
        Box(*program, change=use_host_network) as box,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far,
    ):
        far.bind(f"{OUTSIDE}/log")
        box.run()
        box.count_to(3)
        assert "lock" in box.refuse("checkpoint", "--image-path", IMAGES, "--ext-unix-sk", "box")
        assert "ext-unix-sk" in box.refuse("checkpoint", "--image-path", IMAGES, "--file-locks", "box")
        box.checkpoint("--ext-unix-sk", "--file-locks")
        last = box.read_rest()
        while select.select([far], [], [], 0)[0]:
            far.recv(64)
        box.restore("--detach", "--ext-unix-sk", "--file-locks")
        assert int(far.recv(64)) == last + 1
        with open(f"{runtime.BUNDLE}/rootfs/tmp.lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        raise AssertionError("the lock is free")


def check_a_terminal_of_the_containers_own():
    with Box("sh", "-c", "stty -opost; " + COUNT, change=use_terminal) as box:
        box.do_by_console("run", "--detach", "--bundle", runtime.BUNDLE, "box")
        box.count_to(3)
        box.checkpoint()
        last = box.read_rest()
        os.close(box.output)
        box.do_by_console("restore", "--detach", "--bundle", runtime.BUNDLE, "--image-path", IMAGES, "box")
        assert int(box.read_line()) == last + 1


def check_a_job_of_our_own_terminal():
    """Its terminal is the host's; restore gives it that of its caller."""
    with Box("sh", "-c", COUNT) as box:
        for index, command in enumerate(("run", "restore")):
            flags = ("--shell-job", "--image-path", IMAGES) if index else ()
            pid, box.output = pty.fork()
            if pid == 0:
                raw = termios.tcgetattr(1)
                raw[1] &= ~termios.OPOST
                termios.tcsetattr(1, termios.TCSANOW, raw)
                arguments = ("--root", STATE, command, *flags, "--bundle", runtime.BUNDLE, "box")
                os.execv(sys.executable, [*runtime.COMMAND, *arguments])
            if index == 0:
                last = box.count_to(3)
                box.checkpoint("--shell-job")
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 137
                last = max(last, box.read_rest())
                os.close(box.output)
        assert int(box.read_line()) == last + 1
        box.ask("kill", "box", "TERM")
        box.ask("kill", "box", "KILL")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 137


def check_a_network_namespace_by_path_and_hooks():
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {OUTSIDE}/state-$$"]}

    def change(config):
        use_host_network(config)
        config["linux"]["namespaces"].append({"type": "network", "path": "/run/netns/pod"})
        config["hooks"] = {"createRuntime": [hook]}

    subprocess.run(["ip", "netns", "add", "pod"], check=True)
    wanted = os.stat("/run/netns/pod").st_ino
    try:
        with Box("sh", "-c", COUNT, change=change) as box:
            box.run()
            box.count_to(3)
            box.checkpoint()
            last = box.read_rest()
            for name in os.listdir(OUTSIDE):
                os.unlink(f"{OUTSIDE}/{name}")
            box.restore("--detach")
            assert int(box.read_line()) == last + 1
            pid = json.loads(box.ask("state", "box"))["pid"]
            assert os.stat(f"/proc/{pid}/ns/net").st_ino == wanted
            (name,) = os.listdir(OUTSIDE)
            with open(f"{OUTSIDE}/{name}") as file:
                state = json.load(file)
            assert (state["id"], state["pid"], state["status"]) == ("box", pid, "creating"), state
    finally:
        subprocess.run(["ip", "netns", "delete", "pod"], check=True)


def check_a_restore_that_fails_leaves_nothing():
    with Box("sh", "-c", COUNT) as box:
        box.run()
        box.count_to(3)
        box.checkpoint()
        missing = box.refuse("restore", "--bundle", runtime.BUNDLE, "--image-path", "/run/nothing", "box")
        assert "no checkpoint is there" in missing, missing
        with open(f"{IMAGES}/pstree.img", "r+b") as file:
            file.truncate(12)
        assert "criu restore" in box.refuse(
            "restore", "--detach", "--bundle", runtime.BUNDLE, "--image-path", IMAGES, "box"
        )
        assert not list_boxes()
        assert not os.path.exists(f"{GROUPS}/box")
