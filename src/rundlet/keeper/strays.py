"""Children that nobody told the supervisor of, and that it has to reap all the same.

The nursery, a container's helper and a pod's step between clone for the supervisor (CLONE_PARENT) and
then say which pid that was.  One that is killed between the two leaves a child whose pid nobody knows.
It ends, as its socket has; but until it is reaped it stays in its PID namespace, whose init cannot end
then: the pod would be stuck while it is being removed.

Every child that is known has a pidfd in the loop, which has been served when a timer comes.  So who is
dead at two looks, one after the other, is nobody's.
"""

import os

from rundlet.keeper.loop import Loop

_PAUSE_S = 0.05
_LOOKS = 40
"""A stray may take a moment to die; when the keeper comes to rest it looks once more anyway."""


class Strays:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._looks = 0
        self._seen = 0

    def expect(self) -> None:
        """Somebody has ended who may have had something left to say."""
        if not self._looks:
            self._loop.later(_PAUSE_S, self._look)
        self._looks = _LOOKS

    def _look(self) -> None:
        dead = find_dead_child()
        if dead and dead == self._seen:
            reap(dead)
            dead = find_dead_child()
        self._seen = dead
        self._looks -= 1
        if self._looks or dead:
            self._looks = max(1, self._looks)
            self._loop.later(_PAUSE_S, self._look)

    def reap_all(self) -> None:
        """When a while has passed without any event: all who are dead are strays."""
        while dead := find_dead_child():
            reap(dead)


def find_dead_child() -> int:
    """The pid of a zombie among the children, the same one until it is reaped; 0 when there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return found.si_pid if found else 0


def reap(pid: int) -> None:
    """A child that has ended, unless it was taken for a stray before."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
