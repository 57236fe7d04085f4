"""Change one thing after another in a module and list what no test notices.

    python -m tests.mutants relay/service/assembly.py relay/flow

Each change is tried in a process forked from one that has imported what all tests import, and
the layers below that of the module.
The module is compiled from the changed text; no file is written.  Against each change run the
tests of the module (the mirrored name), and for parts of an assembled relay those of the
assembly.  Tests that start other processes see the module as it is on disk.

A change that makes the tests hang counts as noticed.  MUTANTS_JOBS is how many run at a time.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tests.mutants.changes import Change, changes_of, describe
from tests.test_architecture import LAYERS

ROOT = Path(__file__).parents[2]
DEFAULT = ("relay/service", "relay/flow", "relay/queue")
ASSEMBLED = ("tests/service/test_assembly.py", "tests/service/test_wiring.py")
PARTS = {
    *("assembly", "observing", "relay_service"),
    *("destinations/datagrams", "destinations/files", "destinations/kind"),
    *("destinations/service", "destinations/streams"),
    *("queue/assembly", "queue/limits", "queue/service"),
    *("sources/datagrams", "sources/kind", "sources/listening"),
    *("sources/service", "sources/streams", "sources/systemd"),
}
"""Modules of relay/service that only show in a whole relay what they do."""
IMPORTED = (
    *(
        "pytest",
        "hypothesis",
        "hypothesis.stateful",
        "lmdb",
        "msgspec",
        "OpenSSL.SSL",
    ),
    *("cryptography.x509", "click.testing", "service_identity", "twisted.internet.testing"),
    *("twisted.internet.task", "twisted.internet.endpoints", "twisted.protocols.tls"),
    *("twisted.application.internet", "twisted.application.service", "twisted.logger"),
)


class ChangedModule(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Imports one module from other text than that on disk."""

    def __init__(self, path: Path, text: bytes) -> None:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        super().__init__(name, str(path))
        self._text = text

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._text, self.path, "exec")


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT / "relay").parts[0]


def import_layers_below(package: str) -> None:
    """Import what a change in `package` leaves as it is, once for all trials."""
    for below in LAYERS[: LAYERS.index(package)]:
        for path in sorted((ROOT / "relay" / below).rglob("*.py")):
            if path.name != "__init__.py":
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def tests_of(path: Path) -> list[str]:
    """The files with the tests of a module, the most likely ones first."""
    place = path.relative_to(ROOT / "relay")
    mirrored = f"tests/{place.parent}/test_{place.name}"
    is_part = place.as_posix().removeprefix("service/").removesuffix(".py") in PARTS
    more = ASSEMBLED if is_part else ()
    return list(dict.fromkeys([mirrored, *more]))


def run_tests(path: Path, text: bytes) -> int:
    """Run the tests against `text` in the place of the module; for a forked process."""
    import pytest

    sys.meta_path.insert(0, ChangedModule(path, text))
    options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--hypothesis-seed=1"]
    return pytest.main([*options, *tests_of(path)])


class Trial:
    """One run of the tests in a process of its own."""

    def __init__(self, path: Path, text: bytes, change: Change | None, seconds_max: float) -> None:
        self.change = change
        self._ends_at = time.monotonic() + seconds_max
        self._pid = os.fork()
        if self._pid == 0:
            with contextlib.suppress(BaseException):
                nothing = os.open(os.devnull, os.O_RDWR)
                for descriptor in (0, 1, 2):
                    os.dup2(nothing, descriptor)
                os.setpgrp()
                # A shell that starts programs in the background has them ignore these.
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.signal(signal.SIGHUP, signal.SIG_DFL)
                os._exit(min(int(run_tests(path, text)), 100))
            os._exit(101)

    def noticed(self) -> bool | None:
        """Whether the tests failed; None while they run."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status) != 0
        if time.monotonic() < self._ends_at:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        return True


def survivors_of(path: Path, jobs: int) -> tuple[list[Change], int]:
    """The changes that were not noticed, and how many were tried."""
    source = path.read_bytes()
    began = time.monotonic()
    plain = Trial(path, source, None, 600)
    while (failed := plain.noticed()) is None:
        time.sleep(0.05)
    if failed:
        raise SystemExit(f"{path}: its tests fail as it is: {' '.join(tests_of(path))}")
    seconds_max = 5 + 5 * (time.monotonic() - began)
    waiting = changes_of(source)
    count, running, survived = len(waiting), list[Trial](), list[Change]()
    while waiting or running:
        while waiting and len(running) < jobs:
            change = waiting.pop(0)
            running.append(Trial(path, change.applied_to(source), change, seconds_max))
        for trial in list(running):
            noticed = trial.noticed()
            if noticed is not None:
                running.remove(trial)
                if not noticed and trial.change is not None:
                    survived.append(trial.change)
                    print(f"{path.relative_to(ROOT)}:{describe(source, trial.change)}", flush=True)
        time.sleep(0.01)
    return survived, count


def main(arguments: Sequence[str]) -> None:
    os.chdir(ROOT)
    for name in IMPORTED:
        importlib.import_module(name)
    reactor: Any = sys.modules.pop("twisted.internet.reactor", None)
    assert reactor is None, "no unit test may find a reactor"
    jobs = int(os.environ.get("MUTANTS_JOBS") or 2)
    tried = left = 0
    paths: list[Path] = []
    for argument in arguments or DEFAULT:
        place = ROOT / argument
        paths += sorted(place.rglob("*.py")) if place.is_dir() else [place]
    # From the lowest layer up: a layer is imported when it has been tried.
    for path in sorted(paths, key=lambda path: LAYERS.index(layer_of(path))):
        if path.name != "__init__.py":
            import_layers_below(layer_of(path))
            survived, count = survivors_of(path, jobs)
            tried, left = tried + count, left + len(survived)
            part = 100 * (count - len(survived)) / count if count else 100.0
            print(
                f"{path.relative_to(ROOT)}: {count} changes, {len(survived)} not noticed, "
                f"{part:.1f} % noticed",
                flush=True,
            )
    if tried:
        print(f"{tried} changes, {left} not noticed, {100 * (tried - left) / tried:.1f} % noticed")


if __name__ == "__main__":
    main(sys.argv[1:])
