"""Ctrl-C and SIGTERM at every named step of `run`: nothing is left, and the same command again goes well.

RUNDLET_CRASHES says how many moments each scene plays, as in test_matrix.
"""

import os
import random
import re
import signal
from contextlib import suppress
from typing import NamedTuple

import pytest

from rundlet.engine.settings import Settings
from tests.crash.interruption import Cut, Desk
from tests.crash.stage import Traces

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(7200)]

CRASHES = os.environ.get("RUNDLET_CRASHES", "2")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
IMAGE = "busybox:latest"
# What the next pull goes on with, or the image itself.
PULLED = r"files: .*/(blobs|images|ingest|layers)/|rows: (blobs|layers|images|image_\w+):"
LATE = ("keeper.leave", "anchor.remove")  # a keeper with nothing to do leaves, whenever that is


class Scene(NamedTuple):
    """A command with REGISTRY and ROOT in its words; `after` takes away what it leaves when it goes well.

    What `keeps` matches may be left by an interrupted one.

    `until` begins the same way and ends before a program runs: whoever interrupts it there has the signal's code.
    """

    name: str
    words: str
    until: str
    after: tuple[str, ...]
    terminals: tuple[bool, ...] = (False, True)
    keeps: str = "nothing"


FOREGROUND = "--name c -p 18080:80 -v data:/data -v /anonymous --cidfile ROOT/cid REGISTRY/busybox:latest"
SCENES = (
    Scene(
        "foreground", f"run --rm {FOREGROUND} true", f"create {FOREGROUND}", ("rm -f -v c", "volume rm data")
    ),
    Scene(
        "detached",
        "run -d --name c --restart always REGISTRY/busybox:latest sleep 1000",
        "create --name c REGISTRY/busybox:latest",
        ("rm -f -t 0 c",),
    ),
    Scene(
        "terminal",
        "run --rm -it --network none --name c REGISTRY/busybox:latest true",
        "create -it --network none --name c REGISTRY/busybox:latest",
        ("rm -f c",),
        terminals=(True,),
    ),
    Scene(
        "pod",
        "run --rm --pod new:p -p 18081:80 REGISTRY/busybox:latest true",
        "create --name c --pod new:p -p 18081:80 REGISTRY/busybox:latest",
        ("pod rm -f p",),
    ),
    Scene(
        "pull",
        "run --rm --network none REGISTRY/other:latest true",
        "pull -q REGISTRY/other:latest",
        ("rmi -f REGISTRY/other:latest",),
        keeps=PULLED,
    ),
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Desk:
    """With busybox:latest pulled, and everything made that stays for good."""
    directory = tmp_path_factory.mktemp("desk")
    settings = Settings(
        root=f"{directory}/root", run_root=f"{directory}/run", cni_cache_dir=f"{directory}/cni"
    )
    (directory / "config").mkdir()
    (directory / "config" / "rundlet.toml").write_text(
        f'cni_cache_dir = "{settings.cni_cache_dir}"\ndefault_cgroup_parent = "/crash"\n'
    )
    desk = Desk(settings, f"{directory}/failpoints", f"{directory}/config")
    desk.run("run", "-d", "--name", "minded", f"{registry}/{IMAGE}")  # minders have locks that stay
    desk.run("rm", "-f", "minded")
    return desk


@pytest.fixture(params=SCENES, ids=[scene.name for scene in SCENES])
def scene(request: pytest.FixtureRequest, desk: Desk, registry: str) -> Scene:
    def fill(text: str) -> str:
        return text.replace("REGISTRY", registry).replace("ROOT", desk.root)

    found: Scene = request.param
    return found._replace(
        words=fill(found.words), until=fill(found.until), after=tuple(map(fill, found.after))
    )


def clean(desk: Desk, scene: Scene) -> None:
    for words in scene.after:
        desk.run(*words.split())
    with suppress(FileNotFoundError):
        os.unlink(f"{desk.root}/cid")


def list_cuts(desk: Desk, scene: Scene) -> list[Cut]:
    found = []
    for terminal in scene.terminals:
        desk.await_no_keeper()  # a new one passes the steps of its own beginning
        points = desk.list_points(scene.words.split(), terminal=terminal)
        clean(desk, scene)
        found += [Cut(point, number, terminal) for point in points for number in SIGNALS]
    return found


def choose(cuts: list[Cut], scene: Scene) -> list[Cut]:
    if CRASHES == "all":
        return cuts
    if CRASHES.isdecimal():
        return sorted(random.Random(scene.name).sample(cuts, int(CRASHES)))
    return [cut for cut in cuts if re.search(CRASHES, f"{scene.name} {cut.describe()}")]


def test_ctrl_c_at_any_step_of_run_leaves_nothing(desk: Desk, scene: Scene) -> None:
    for words in (scene.until, scene.words):  # what stays for good, such as a compiled filter
        desk.run(*words.split())
        clean(desk, scene)
    passed = desk.list_points(scene.until.split())
    before_program = {point for point in passed if not point.startswith(LATE)}
    clean(desk, scene)
    cuts = list_cuts(desk, scene)
    before = desk.take_traces()
    failures = []
    for cut in choose(cuts, scene):
        failure = play(desk, scene, cut, before, before_program)
        if failure:
            failures.append(f"{cut.describe()}: {failure}")
            clean(desk, scene)
    assert not failures, "\n".join(failures)


def play(desk: Desk, scene: Scene, cut: Cut, before: Traces, before_program: set[str]) -> str:
    """What went wrong; empty when nothing did."""
    desk.await_no_keeper()
    words = scene.words.split()
    try:
        done = desk.cut(words, cut)
        is_early = cut.point in before_program
        if done.was_reached and done.code not in expect_codes(cut, is_early=is_early):
            return f"exit code {done.code}: {done.output}"
        if not is_early:
            clean(desk, scene)  # what stays when the program has run
        left = [name for name in desk.find_leftovers(before) if not re.match(scene.keeps, name)]
        if left:
            return f"left behind: {left} ({done.code}: {done.output})"
        again = desk.run(*words, terminal=cut.terminal)
        if again.code:
            return f"the same command again: {again.code}: {again.output}"
    except AssertionError as error:
        return str(error)
    clean(desk, scene)
    left = desk.find_leftovers(before)
    return f"left behind by the same command again: {left}" if left else ""


def expect_codes(cut: Cut, *, is_early: bool) -> set[int]:
    """That of the signal; behind the start also the program's own, which ends by itself."""
    return {128 + cut.number} if is_early else {128 + cut.number, 0}
