"""What becomes of a write when the host lacks its cgroup file.  Pure, standard library only.

A limit that was asked for and cannot be set is refused.  Dropped, as runc and the
CRI runtimes drop them, are those writes that ask for nothing which would be missed:

- swap lifted or switched off, without swap accounting (swapaccount=0, CONFIG_SWAP=n);
- limits on reserved huge pages (Linux 5.7) beside those on used ones;
- no huge pages at all, without the controller: kubelet says 0 for every page size it knows.
"""

from collections.abc import Callable, Iterable, Iterator

from rundlet.errors import FailedPrecondition

Write = tuple[str, str, str]  # controller, file, value
Has = Callable[[str, str], bool]  # controller, file ("" asks for the controller itself)

# Not a file: the value is a device program (struct bpf_insn[] in base64) to attach on version 2.
DEVICE_PROGRAM = "devices.program"
# Not a controller: the file is a property of systemd's unit, the value [signature, value] in JSON.
UNIT = "systemd"

_SWAP_FILES = ("memory.swap.max", "memory.memsw.limit_in_bytes")
# Block weights are under one name or the other; a plan has both, BFQ's first.
_OTHER_NAMES = {
    "blkio.bfq.weight": "blkio.weight",
    "blkio.bfq.weight_device": "blkio.weight_device",
    "io.bfq.weight": "io.weight",
}
_BFQ_NAMES = {plain: bfq for bfq, plain in _OTHER_NAMES.items()}


def filter_writes(writes: Iterable[Write], has: Has) -> Iterator[Write]:
    """The writes that the host can take, in order.

    Raises FailedPrecondition for a limit that it cannot keep.
    """
    known: dict[tuple[str, str], bool] = {}

    def has_once(controller: str, file: str) -> bool:
        if (controller, file) not in known:
            known[controller, file] = has(controller, file)
        return known[controller, file]

    memory_limit = ""
    for controller, file, value in writes:
        if file == "memory.limit_in_bytes":
            memory_limit = value
        if file == DEVICE_PROGRAM or has_once(controller, file):
            if not _is_said_before(controller, file, has_once):
                yield controller, file, value
        elif not _can_be_dropped(controller, file, value, memory_limit, has_once):
            raise _refuse(controller, file, value, has_once)


def _can_be_dropped(controller: str, file: str, value: str, memory_limit: str, has: Has) -> bool:
    if file in _SWAP_FILES:
        return has(controller, "") and value in ("max", "0", "-1", memory_limit)
    if controller == "hugetlb":
        return has(controller, file.replace(".rsvd", "")) if has(controller, "") else value == "0"
    # Whichever of two names comes second answers for both.
    return file in _OTHER_NAMES or _is_said_before(controller, file, has)


def _is_said_before(controller: str, file: str, has: Has) -> bool:
    """Whether the write went to BFQ's name already."""
    return file in _BFQ_NAMES and has(controller, _BFQ_NAMES[file])


def _refuse(controller: str, file: str, value: str, has: Has) -> FailedPrecondition:
    if not has(controller, ""):
        return FailedPrecondition(
            f"cannot set {file} to {value!r}: this host has no {controller} controller",
            hint=f"leave the limit out, or see cgroup_disable= and whether {controller} is mounted",
        )
    hint = "boot with swapaccount=1, or leave the limit out" if file in _SWAP_FILES else ""
    return FailedPrecondition(f"cannot set {file} to {value!r}: this kernel has no such file", hint=hint)
