"""House rules of the test run: where each test may run, and what was skipped.

Tests marked `kernel` make network, mount or cgroup namespaces, interfaces and
mounts.  They run only inside a throw-away node (`make test` and `nox -s kernel`
make one and set RUNDLET_NODE=1), so a plain `pytest` never touches the host.
"""

import os
import signal

import pytest
from hypothesis import settings

NODE_REASON = "needs a throw-away node: make test runs it in one"

# Whoever starts the tests in the background may have them ignore ctrl-c, and every program that they start with
# them; those that are about ctrl-c would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Commands do all by themselves, and leave nothing behind for the next one; tests/warm says otherwise.
os.environ["RUNDLET_WARM"] = "0"

settings.register_profile("ci", derandomize=True, max_examples=25, deadline=None)
settings.register_profile("dev", max_examples=100, deadline=None)
settings.register_profile("deep", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def in_node() -> bool:
    return os.environ.get("RUNDLET_NODE") == "1" and os.geteuid() == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if in_node():
        return
    for item in items:
        if item.get_closest_marker("kernel") is not None:
            item.add_marker(pytest.mark.skip(reason=NODE_REASON))


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason alone; longrepr of a skip is (path, line, "Skipped: reason")."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what did not run, by name, just above pytest's closing line."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section(f"{len(skipped)} skipped, by name")
    for report in sorted(skipped, key=lambda report: report.nodeid):
        terminalreporter.write_line(f"{report.nodeid}: {skip_reason(report)}")
