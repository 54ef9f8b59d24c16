"""One target under atheris (libFuzzer): python -m tests.fuzz.guided NAME CORPUS [-libFuzzer=option …]"""

import sys
from random import Random

import atheris

from tests.fuzz.target import load, play


def main() -> None:
    _, name, *arguments = sys.argv
    with atheris.instrument_imports(include=["rundlet"]):
        target = load(name)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        """Ours twice, libFuzzer's own once, which knows what was compared with what."""
        random = Random(seed)
        return (target.mutate(data, random) if random.randrange(3) else atheris.Mutate(data, size))[:size]

    atheris.Setup([sys.argv[0], *arguments], lambda data: play(target, data), custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
