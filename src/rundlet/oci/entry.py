"""The command's first module: stand-ins in place, then everything else."""

import gc


def own_command() -> list[str]:
    """What runs this program by the interpreter of the calling process."""
    import os
    import sys

    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    start = f"import sys; sys.path.insert(0, {source!r}); from rundlet.oci.entry import main; main()"
    return [sys.executable, "-I", "-S", "-c", start]


def main() -> None:
    gc.disable()  # one short life: collecting would only cost
    from rundlet import lean

    lean.install()
    from rundlet.oci.interpreter import ensure_private

    ensure_private()
    from rundlet.oci.main import main as run_main

    run_main()


if __name__ == "__main__":
    main()
