"""Which Linux security modules the kernel runs."""

import os


def read_security_modules() -> tuple[str, ...]:
    """Names as in /sys/kernel/security/lsm; where securityfs is not mounted, by what the modules show themselves."""
    try:
        with open("/sys/kernel/security/lsm", encoding="ascii") as file:
            return tuple(file.read().strip().split(","))
    except OSError:
        signs = {"apparmor": "/proc/self/attr/apparmor/exec", "selinux": "/sys/fs/selinux/enforce"}
        return tuple(name for name, path in signs.items() if os.path.exists(path))
