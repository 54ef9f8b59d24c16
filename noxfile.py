"""The one task runner: what `make` calls, and what a contributor calls by name.

nox -l                      what there is
nox -s unit -- -k digest    arguments after -- go to the tool
"""

import os
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CACHE = ROOT / ".cache"
RIG = ROOT.parent / "shared" / "rig"
CRICTL_VERSION = "v1.36.0"
CNITOOL_VERSION = "v1.3.0"
GO_TOOLS = ("crictl", "critest", "ginkgo")
LOCKS = ("runtime", "bootstrap", "test", "lint", "proto", "docs", "fuzz")

# Two cores are what CI has; whoever finishes first takes over from the other.
TWO_WORKERS = ("-n", "2", "--dist", "worksteal")

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "imports", "unit", "kernel", "conformance"]

# Two workers: tests wait for processes and the kernel as often as for a CPU.
WORKERS = 2
# Compiled modules are kept: hundreds of short-lived interpreters start in a run.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""


def install(session: nox.Session, lock: str, *, project: bool = True) -> None:
    """The locked packages of requirements/<lock>.txt, and rundlet itself in place."""
    session.install("-q", "--require-hashes", "-r", f"requirements/{lock}.txt")
    if project:
        session.install("-q", "--no-deps", "--no-build-isolation", "-e", ".")


def run_in_node(session: nox.Session, *command: str) -> None:
    """Run a command inside a throw-away node; plainly where this user cannot make one."""
    if os.geteuid() != 0:
        session.log("not root: tests marked kernel will be skipped by name")
        session.run(*command)
        return
    session.run(
        "python", "-m", "rundlet.runtime.node", "--", *command,
        env={"RUNDLET_NODE": "1", "PATH": tool_path(session)},
    )  # fmt: skip


def run_in_nodes(session: nox.Session, *pytest_arguments: str) -> None:
    """pytest with workers, each in a throw-away node of its own: bridges, cgroups and /run never meet."""
    if os.geteuid() != 0:
        run_in_node(session, "pytest", *pytest_arguments)
        return
    python = f"{session.bin}/python"
    worker = f"{WORKERS}*popen//python={python} -m rundlet.runtime.node -- {python}"
    session.run(
        "pytest", "--dist", "worksteal", "--tx", worker, *pytest_arguments,
        env={"RUNDLET_NODE": "1", "PATH": tool_path(session)},
    )  # fmt: skip


def tool_path(session: nox.Session) -> str:
    """PATH with the session's programs first and crictl's and critest's homes last."""
    ours = (session.bin, str(CACHE / "crictl"))
    return os.pathsep.join((*ours, os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/root/go/bin"))


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff's rules and layout."""
    install(session, "lint", project=False)
    session.run("ruff", "check", ".", *session.posargs)
    session.run("ruff", "format", "--check", "--diff", ".")


@nox.session(name="format")
def format_code(session: nox.Session) -> None:
    """Apply ruff's layout and its safe fixes."""
    install(session, "lint", project=False)
    session.run("ruff", "check", "--fix", ".")
    session.run("ruff", "format", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy, strict and more."""
    install(session, "lint")
    session.run("mypy", *session.posargs)


@nox.session
def imports(session: nox.Session) -> None:
    """Layers: imports go down only."""
    install(session, "lint")
    session.run("lint-imports", "--no-cache", "--no-logo")


@nox.session
def unit(session: nox.Session) -> None:
    """Tests that need neither root nor a node."""
    install(session, "test")
    session.run(
        "pytest",
        *TWO_WORKERS,
        "-m",
        "not kernel and not vm",
        *session.posargs,
        env={"PATH": tool_path(session)},
    )


@nox.session
def kernel(session: nox.Session) -> None:
    """Tests on the real kernel, inside throw-away nodes (root)."""
    install(session, "test")
    run_in_nodes(session, "-m", "kernel and not vm", *session.posargs)


@nox.session
def differential(session: nox.Session) -> None:
    """Only the tests that hold rundlet beside Debian's tools."""
    install(session, "test")
    run_in_node(session, "python", "-m", "pytest", "-m", "differential", *session.posargs)


@nox.session
def vm(session: nox.Session) -> None:
    """cgroup version 2, systemd, criu: in QEMU guests with Debian's cloud kernel, two at once (some 80 s)."""
    session.run("tools/setup.sh", "debian-vm", external=True)
    install(session, "test")
    two_guests = ("-n", "2", "--dist", "loadgroup")
    session.run(
        "pytest", *two_guests, "-m", "vm", "tests/vm", *session.posargs, env={"PATH": tool_path(session)}
    )


@nox.session
def e2e(session: nox.Session) -> None:
    """Only the whole walks: ours, with Debian's plugins, and with the real crictl."""
    install(session, "test")
    run_in_node(session, "python", "-m", "pytest", "tests/e2e", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Line and branch coverage of the unit and kernel tests together."""
    install(session, "test")
    session.run("coverage", "erase")
    measured = ("-m", "pytest", "--cov", "--cov-append", "--cov-report=")
    session.run(
        "python", *measured, "-m", "not kernel and not vm", success_codes=(0, 1)
    )  # a failure is unit's matter
    run_in_node(session, "python", *measured, "-m", "kernel")
    session.run("coverage", "report")


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel, install it with only the runtime lock, and ask its version."""
    dist = Path(session.create_tmp())
    session.run("uv", "build", "-q", "--wheel", "--out-dir", str(dist), external=True)
    install(session, "runtime", project=False)
    session.install("-q", "--no-deps", "--reinstall", *map(str, dist.glob("*.whl")))
    session.run("rundlet", "--version")


@nox.session
def soak(session: nox.Session) -> None:
    """300 pods come and go, ten at a time; then every count is what it was (make test: 100)."""
    install(session, "test")
    os.environ["RUNDLET_SOAK_PODS"] = "300"
    run_in_node(session, "python", "-m", "pytest", "tests/e2e/test_soak.py", *session.posargs)


@nox.session
def storm(session: nox.Session) -> None:
    """kill -9, 200 times, of processes that pull, remove and prune; minutes."""
    install(session, "test")
    session.env["RUNDLET_STORM_KILLS"] = "200"
    session.run("python", "-m", "pytest", "tests/image/test_storm.py", *session.posargs)


@nox.session
def powercut(session: nox.Session) -> None:
    """1 200 moments at which the power goes, of six records of a store at work (make test: 20 of two); minutes."""
    install(session, "test")
    os.environ["RUNDLET_POWER_CUTS"] = "200"
    os.environ["RUNDLET_POWER_CUT_RECORDS"] = "3"
    run_in_nodes(session, "-m", "kernel", "tests/powercut", *session.posargs)


@nox.session
def deep(session: nox.Session) -> None:
    """5 000 broken configurations through rundlet-runtime's command line on the real kernel (some minutes)."""
    install(session, "test")
    os.environ["HYPOTHESIS_PROFILE"] = "deep"
    run_in_nodes(session, "-m", "kernel", "tests/oci/test_mutated_configs.py", *session.posargs)


@nox.session
def crash(session: nox.Session) -> None:
    """Kills and faults at every named step of pods, containers and images, all there are (make test: some)."""
    install(session, "test")
    os.environ["RUNDLET_CRASHES"] = "all"
    run_in_nodes(session, "tests/crash", *session.posargs)


@nox.session(venv_backend="none")
def crictl(session: nox.Session) -> None:
    """Build the real crictl, critest and ginkgo (or those named after --) and cnitool, where Go is."""
    tools = session.posargs or GO_TOOLS
    session.run(sys.executable, "tools/install_crictl.py", CRICTL_VERSION, str(CACHE / "crictl"), *tools)
    session.run(sys.executable, "tools/install_cnitool.py", CNITOOL_VERSION, str(CACHE / "cnitool"))


@nox.session
def conformance(session: nox.Session) -> None:
    """Kubernetes' CRI conformance suite against rundletd, through the rig in ../shared."""
    install(session, "test")
    if RIG.is_dir():
        session.run("tools/setup.sh", "debian-rig", external=True)
    session.run("python", "tools/run_conformance.py", *session.posargs, env={"PATH": tool_path(session)})


@nox.session(name="conformance-page", venv_backend="none")
def conformance_page(session: nox.Session) -> None:
    """Make docs/conformance.md again from the results of the last conformance run."""
    session.run(sys.executable, "tools/make_conformance_page.py")


@nox.session
def proto(session: nox.Session) -> None:
    """Make the gRPC code of src/rundlet/cri/proto again."""
    install(session, "proto", project=False)
    session.run("python", "tools/make_cri_proto.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Every fuzz target for a minute, or those named (-- NAME … --seconds N), guided by coverage."""
    install(session, "fuzz")
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Every figure beside its peers (names and options after --); docs/performance.md is made of them."""
    install(session, "test")
    session.run("python", "-m", "benchmarks", *session.posargs, env={"PATH": tool_path(session)})


@nox.session
def docs(session: nox.Session) -> None:
    """Check the pages (links, file names, twin READMEs), make the site in .cache/site, draft the changelog."""
    install(session, "docs")
    session.run("python", "tools/check_docs.py")
    # The variable: mkdocs' own word about its next version would stand above every run.
    session.run("mkdocs", "build", "--strict", "--quiet", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})
    session.run("towncrier", "build", "--draft", "--version", "next")


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Resolve requirements/*.in again; arguments as `uv pip compile` takes them."""
    uv = str(CACHE / "bootstrap" / "bin" / "uv")
    for name in LOCKS:
        source = "pyproject.toml" if name == "runtime" else f"requirements/{name}.in"
        session.run(
            uv, "pip", "compile", "-q", "--python-version", "3.11", "--python-platform", "linux",
            "--generate-hashes", "--no-emit-index-url", "--custom-compile-command", "nox -s lock",
            source, "-o", f"requirements/{name}.txt", *session.posargs,
        )  # fmt: skip
