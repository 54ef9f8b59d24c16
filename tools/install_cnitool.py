"""Build cnitool, the CNI project's own client, with Go, once, into a cache folder.

    python tools/install_cnitool.py v1.3.0 .cache/cnitool

A cnitool on PATH or in ~/go/bin is used as it is.  Without Go, or where no module
proxy answers, this says so and ends well: the test that drives it is skipped.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = "github.com/containernetworking/cni"
TIMEOUT_S = 300


def find_program(cache: Path) -> str | None:
    homes = (str(cache), os.environ.get("PATH", ""), str(Path.home() / "go" / "bin"))
    return shutil.which("cnitool", path=os.pathsep.join(homes))


def build(version: str, cache: Path) -> None:
    """From a module of our own: a requirement needs only the one version's files from a proxy."""
    with tempfile.TemporaryDirectory(prefix="rundlet-cnitool-") as folder:
        requirement = f"module tools\n\ngo 1.24\n\nrequire {MODULE} {version}\n"
        Path(folder, "go.mod").write_text(requirement, encoding="utf-8")
        subprocess.run(
            ("go", "build", "-o", str(cache / "cnitool"), f"{MODULE}/cnitool"),
            cwd=folder,
            env=os.environ | {"GOFLAGS": "-mod=mod"},
            check=True,
            timeout=TIMEOUT_S,
        )


def main() -> None:
    version, cache = sys.argv[1], Path(sys.argv[2])
    found = find_program(cache)
    if found is not None:
        print(f"cnitool: {found}")
    elif shutil.which("go") is None:
        print("cnitool: no Go on this host, its test will be skipped")
    else:
        cache.mkdir(parents=True, exist_ok=True)
        try:
            build(version, cache.resolve())
        except (subprocess.SubprocessError, OSError) as error:
            print(f"cnitool: could not be built ({error}), its test will be skipped")


if __name__ == "__main__":
    main()
