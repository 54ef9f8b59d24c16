"""The command's first module: stand-ins in place, then everything else."""

import gc


def main() -> None:
    gc.disable()  # one short life: collecting would only cost
    from rundlet.oci import lean

    lean.install()
    from rundlet.oci.interpreter import ensure_private

    ensure_private()
    from rundlet.oci.main import main as run_main

    run_main()


if __name__ == "__main__":
    main()
