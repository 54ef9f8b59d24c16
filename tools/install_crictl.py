"""Build crictl, critest and the ginkgo that runs critest's workers, with Go, once, into a cache folder.

    python tools/install_crictl.py v1.36.0 .cache/crictl [crictl] [critest] [ginkgo]

A program that is already on PATH or in ~/go/bin is used as it is.  Without Go,
or where no module proxy answers, this says so and ends well: the tests that
drive the real crictl are then skipped by name.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = "sigs.k8s.io/cri-tools"
# critest's workers need ginkgo in the very version that cri-tools requires: it comes by the same module.
GINKGO = "github.com/onsi/ginkgo/v2/ginkgo"
TIMEOUT_S = 900


def find_program(name: str, cache: Path) -> str | None:
    homes = (str(cache), os.environ.get("PATH", ""), str(Path.home() / "go" / "bin"))
    return shutil.which(name, path=os.pathsep.join(homes))


def run_go(*args: str, cwd: Path, **env: str) -> None:
    subprocess.run(("go", *args), cwd=cwd, env=os.environ | env, check=True, timeout=TIMEOUT_S)


def build_in_module(name: str, version: str, cache: Path) -> None:
    """Build from a module of our own that requires cri-tools.

    `go install pkg@version` asks the proxy for the list of versions, which some
    proxies refuse; a requirement in go.mod needs only the one version's files.
    critest is a test binary: upstream builds it by `go test -c` too.
    """
    with tempfile.TemporaryDirectory(prefix="rundlet-crictl-") as folder:
        Path(folder, "go.mod").write_text(
            f"module tools\n\ngo 1.24\n\nrequire {MODULE} {version}\n", encoding="utf-8"
        )
        verb = ("test", "-c") if name == "critest" else ("build",)
        package = GINKGO if name == "ginkgo" else f"{MODULE}/cmd/{name}"
        stamp = f"-X {MODULE}/pkg/version.Version={version}"
        run_go(
            *verb, "-ldflags", stamp, "-o", str(cache / name), package,
            cwd=Path(folder), GOFLAGS="-mod=mod",
        )  # fmt: skip


def build(name: str, version: str, cache: Path) -> None:
    if name == "crictl":
        try:
            run_go("install", f"{MODULE}/cmd/{name}@{version}", cwd=cache, GOBIN=str(cache))
        except subprocess.SubprocessError:
            print(f"{name}: plain go install failed, trying through a module of our own", flush=True)
        else:
            return
    build_in_module(name, version, cache)


def install(name: str, version: str, cache: Path) -> None:
    found = find_program(name, cache)
    if found is not None:
        print(f"{name}: {found}")
    elif shutil.which("go") is None:
        print(f"{name}: no Go on this host, its tests will be skipped")
    else:
        cache.mkdir(parents=True, exist_ok=True)
        try:
            build(name, version, cache.resolve())
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{name}: could not be built ({error}), its tests will be skipped")


def main() -> None:
    version, cache, *names = sys.argv[1:]
    for name in names or ["crictl"]:
        install(name, version, Path(cache))


if __name__ == "__main__":
    main()
