"""What a plan must know besides the configuration."""

from collections.abc import Mapping
from typing import NamedTuple


class Overlay(NamedTuple):
    """A rootfs made of layers, `lower` with the topmost first; absolute host paths."""

    lower: tuple[str, ...]
    upper: str
    work: str


class Host(NamedTuple):
    """What the plan must know of the machine, read once by whoever plans.

    `capabilities` is the bounding set that can be given at all; `cgroups` maps
    each controller to the container's directory in it ("" alone for version 2);
    `security_modules` are those that the kernel runs (`rundlet.kernel.lsm`).
    `is_rootless`: this is a user namespace below the first one.
    """

    capabilities: int
    cgroups: Mapping[str, str] = {}
    security_modules: tuple[str, ...] = ()
    is_rootless: bool = False


class Filter(NamedTuple):
    """A compiled seccomp program (struct sock_filter[]) and its SECCOMP_FILTER_FLAG_* bits."""

    program: bytes
    flags: int = 0
