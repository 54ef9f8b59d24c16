"""In the guest: run every check of a module, print the results, switch off."""

import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback

sys.path[:0] = ["/src", "/checks", "/site"]
RB_AUTOBOOT = 0x01234567  # QEMU ends at a reboot
LIMIT_S = 60


def say(text):
    with open("/dev/ttyS0", "w") as console:
        console.write(f"\n{text}\n")


def find_checks(module):
    return {
        name.removeprefix("check_"): function
        for name, function in vars(module).items()
        if name.startswith("check_")
    }


def run(name, function):
    """ "ok" and the time it took, or the traceback."""
    say(f"CHECK {name}")
    begun = time.monotonic()
    signal.alarm(LIMIT_S)
    try:
        function()
        return f"ok {time.monotonic() - begun:.2f} s"
    except Exception:  # noqa: BLE001 - whatever it is, it is the result
        return traceback.format_exc()
    finally:
        signal.alarm(0)


def time_out(*_):
    raise TimeoutError(f"not done within {LIMIT_S} s")


def main(name):
    signal.signal(signal.SIGALRM, time_out)
    try:
        checks = find_checks(importlib.import_module(name))
        results = {label: run(label, function) for label, function in checks.items()}
    except BaseException:  # noqa: BLE001 - as above
        results = {"import": traceback.format_exc()}
    with open("/proc/uptime") as file:
        results["uptime"] = f"ok {file.read().split()[0]} s"
    say("RESULT " + json.dumps(results))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    finally:
        os.sync()
        ctypes.CDLL(None).reboot(RB_AUTOBOOT)
