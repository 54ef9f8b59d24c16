"""Write src/rundlet/plan/syscall_tables.py from the kernel headers of this machine.

    python tools/make_syscall_tables.py > src/rundlet/plan/syscall_tables.py

The x86 numbers come from asm/unistd_{64,32,x32}.h, those of aarch64 from
asm-generic/unistd.h with the switches that arch/arm64 sets, those of 32-bit ARM
from asm/unistd-eabi.h of Debian's linux-libc-dev-armhf-cross.  What kernels newer
than the headers have added is in NEWER: since 5.1 a new call gets the same
number on every architecture.
"""

import os
import re
import subprocess
import textwrap

GENERIC = """
#define __ARCH_WANT_RENAMEAT
#define __ARCH_WANT_NEW_STAT
#define __ARCH_WANT_SET_GET_RLIMIT
#define __ARCH_WANT_TIME32_SYSCALLS
#define __ARCH_WANT_SYS_CLONE3
#define __ARCH_WANT_MEMFD_SECRET
#include <asm-generic/unistd.h>
"""
HEADERS = {
    "x86_64": "#include <asm/unistd_64.h>",
    "i386": "#include <asm/unistd_32.h>",
    "x32": "#define __X32_SYSCALL_BIT 0\n#include <asm/unistd_x32.h>",
    "aarch64": GENERIC,
    "arm": "#define __NR_SYSCALL_BASE 0\n#include <asm/unistd-eabi.h>",
}
ARM_HEADERS = os.environ.get("ARM_HEADERS", "/usr/arm-linux-gnueabihf/include")
# arch/arm/include/uapi/asm/unistd.h: __ARM_NR_*
ARM_PRIVATE = dict(enumerate("breakpoint cacheflush usr26 usr32 set_tls get_tls".split(), start=0xF0001))

# Linux 6.2 to 6.18: arch/*/…/syscall*.tbl, scripts/syscall.tbl
NEWER = dict(
    enumerate(
        """cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
        lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat
        removexattrat open_tree_attr file_getattr file_setattr""".split(),
        start=451,
    )
)
NEWER_ON = {"x86_64": {335: "uretprobe", 336: "uprobe"}, "arm": ARM_PRIVATE}

DEFINE = re.compile(r"#define (__NR(?:3264)?_\w+) (.+)")
TERM = re.compile(r"\d+|__\w+")
NOT_CALLS = {"syscalls", "arch_specific_syscall", "syscall_count", "SYSCALL_BASE", "OABI_SYSCALL_BASE"}

HEAD = '''"""Syscall numbers by ABI; written by tools/make_syscall_tables.py from the kernel's headers.

A number sets the count, each name after it takes the next one.
"""

# fmt: off
TABLES = {'''


def read_defines(source: str, *flags: str) -> dict[str, str]:
    """The __NR macros that the preprocessor knows after `source`."""
    done = subprocess.run(
        ["cpp", "-dM", *flags, "-"], input=source, capture_output=True, text=True, check=True
    )  # fmt: skip
    return {found[1]: found[2] for line in done.stdout.splitlines() if (found := DEFINE.fullmatch(line))}


def evaluate(text: str, defines: dict[str, str]) -> int:
    """A number, a macro, or a sum of them in parentheses."""
    values = {"__X32_SYSCALL_BIT": 0, "__NR_SYSCALL_BASE": 0}
    return sum(
        int(term) if term.isdigit() else values[term] if term in values else evaluate(defines[term], defines)
        for term in TERM.findall(text)
    )


def make_table(abi: str) -> dict[int, str]:
    """{number: name} of an ABI, without x32's marker bit."""
    defines = read_defines(HEADERS[abi], *(["-I", ARM_HEADERS] if abi == "arm" else []))
    table = {
        evaluate(text, defines): macro.removeprefix("__NR_")
        for macro, text in defines.items()
        if macro.startswith("__NR_") and macro.removeprefix("__NR_") not in NOT_CALLS
    }
    return dict(sorted({**NEWER, **NEWER_ON.get(abi, {}), **table}.items()))


def pack(table: dict[int, str]) -> str:
    """The table as words: a number wherever the count jumps."""
    words: list[str] = []
    expected = -1
    for number, name in table.items():
        words += [name] if number == expected else [str(number), name]
        expected = number + 1
    return " ".join(words)


def render() -> str:
    """The whole module."""
    parts = [HEAD]
    for abi in HEADERS:
        lines = textwrap.wrap(pack(make_table(abi)), 104, break_long_words=False, break_on_hyphens=False)
        parts += [f'    "{abi}": """', *(f"    {line}" for line in lines), '    """,']
    return "\n".join([*parts, "}", ""])


if __name__ == "__main__":
    print(render(), end="")
