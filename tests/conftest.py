# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for all tests: their order, which of them share a worker, and who is left alone.

`tests/run` has three workers (pytest-xdist) for two cores. Tests that share something, a file's
fixtures or a guest, run in one of them, after each other; so do those of which a machine bears one.
Guests keep cores busy, so there are two at a time, while much of the rest waits for something. What
only computes has all the time that others leave, and takes none from them. A test marked `alone`
judges how fast things are: nothing else runs beside it, in this checkout.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from deploy.lab import kernels

ORDER = ("unit", "sim", "vm", "bench", "net")
"""The quick ones first, then what takes longest, and at the end what fills the gaps. The storms,
which are `LONG`, come before them all: there is time beside them."""
COMPUTING = ("unit", "sim")
"""Directories whose tests mind no clock: in a worker they give way to all others."""
LEAST_URGENT = 19
"""The lowest priority there is (nice)."""
HERE = Path(__file__).parent
SHARED_GUEST = "module_guest"
"""The fixture whose guests, one a kernel, several files share."""
FIRST, SECOND = kernels.VERSIONS
BESIDE = {"vm/test_rules.py": FIRST, "vm/test_guest.py": FIRST}
"""In which shared guest's worker the guests of other files are, so that it takes both about as
long; the rest, labs with three guests among them, is in the second's."""
LONG = ("net/test_nemesis.py", "net/test_nemesis_zookeeper.py")
"""Minutes for each test."""
LASTING = {
    "net/test_nemesis.py": "--nemesis",
    "net/test_nemesis_zookeeper.py": "--nemesis-zookeeper",
    "vm/test_nemesis.py": "--nemesis-guests",
}
"""What goes on for as long as an option says, and may take so much longer than other tests."""
SINGLE = ("sim", *LONG)
"""Directories and files whose tests share nothing: any worker may have any of them."""
FIGURES = "figures"
EXAMPLES = "examples"
"""The profile of tests with examples (hypothesis): the same ones each time, however long it takes:
these tests mind no clock."""
"""The property of a test in which a line of its figures comes from a worker."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the random faults go on, and which ones they are."""
    group = parser.getgroup("nemesis")
    group.addoption(
        "--nemesis", type=float, default=300, metavar="SECONDS", help="for each cluster (300)"
    )
    group.addoption(
        "--nemesis-guests", type=float, default=35, metavar="SECONDS", help="in the lab (35)"
    )
    group.addoption(
        "--nemesis-zookeeper", type=float, default=20, metavar="SECONDS",
        help="for each cluster with ZooKeeper (20)",
    )  # fmt: skip
    group.addoption("--nemesis-seed", type=int, metavar="N", help="the same faults once more")


def pytest_configure(config: pytest.Config) -> None:
    slow = [HealthCheck.too_slow]
    settings.register_profile(
        EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=slow
    )
    settings.load_profile(EXAMPLES)
    config.addinivalue_line("markers", "alone: nothing else runs in this checkout meanwhile")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(AtOnce(config), "failures-at-once")
        config.pluginmanager.register(Figures(), "figures")


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tells what a test has measured or counted: it is shown when the run ends, however it ends.

    What a test prints is shown if it fails, and only then.
    """

    def tell(text: str) -> None:
        print(text)
        record_property(FIGURES, text)

    return tell


class Figures:
    """Shows the figures of all tests before the run's summary."""

    def __init__(self) -> None:
        self._told: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The report of a test's end has all that the test has told."""
        if report.when != "teardown":
            return
        for name, text in report.user_properties:
            if name == FIGURES:
                lines = str(text).splitlines()
                self._told.append("\n  ".join((f"{report.nodeid}:", *lines)))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """A section of its own."""
        if self._told:
            terminalreporter.section(FIGURES)
            for text in self._told:
                terminalreporter.write_line(text)


class AtOnce:
    """Tells of a failure when it happens: a run that is stopped before its end has told all."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print what failed and why; pytest prints it again at the end."""
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"FAILED {report.nodeid} ({report.when}, {report.duration:.0f} s)")
            terminal.write_line(report.longreprtext)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, each directory's as they were collected, and say what belongs together."""
    items.sort(key=_place)
    for item in items:
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))
        if option := LASTING.get(_file(item)):
            seconds = float(item.config.getoption(option))
            item.add_marker(pytest.mark.timeout(seconds + float(item.config.getini("timeout"))))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """In a worker: end if the groups have not come to those who hand out the tests."""
    if hasattr(session.config, "workerinput"):
        for item in session.items:
            group = _group(item)
            if group and not item.nodeid.endswith(f"@{group}"):
                pytest.exit(f"pytest-xdist has not grouped {item.nodeid}: which pytest is this?", 3)


def _file(item: pytest.Item) -> str:
    return str(item.path.relative_to(HERE)) if item.path.is_relative_to(HERE) else ""


def _room(item: pytest.Item) -> str:
    return _file(item).partition("/")[0]


def _shared_guest(item: pytest.Item) -> str:
    """The kernel of the shared guest that a test uses; empty if it uses none."""
    parameters: dict[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    return str(parameters.get(SHARED_GUEST, ""))


def _alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _place(item: pytest.Item) -> tuple[bool, bool, int, bool]:
    """Within a directory, what shares a guest comes first: that is the worker's, then."""
    room = _room(item)
    place = ORDER.index(room) if room in ORDER else len(ORDER)
    return _alone(item), _file(item) not in LONG, place, not _shared_guest(item)


def _group(item: pytest.Item) -> str:
    """The tests of a group run in one worker; empty: this one may run anywhere."""
    if _alone(item):
        return "alone"
    if _room(item) == "vm":
        return f"guests-{_shared_guest(item) or BESIDE.get(_file(item), SECOND)}"
    return "" if {_room(item), _file(item)} & set(SINGLE) else _file(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """From the first fixture to the last, the worker is in a room with the others, or alone."""
    with _room_for(fcntl.LOCK_EX if _alone(item) else fcntl.LOCK_SH):
        urgency = os.getpriority(os.PRIO_PROCESS, 0)
        if _room(item) in COMPUTING and hasattr(item.config, "workerinput"):
            os.setpriority(os.PRIO_PROCESS, 0, LEAST_URGENT)
        try:
            return (yield)
        finally:
            os.setpriority(os.PRIO_PROCESS, 0, urgency)


@contextmanager
def _room_for(how: int) -> Iterator[None]:
    """Hold the room, with others or alone. Who waits for it stands in the door, so that nobody
    enters before him. Both are directories that are there anyway."""
    with ExitStack() as stack, _locked(HERE / "unit", fcntl.LOCK_EX):
        stack.enter_context(_locked(HERE, how))
        inside = stack.pop_all()
    with inside:
        yield


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
