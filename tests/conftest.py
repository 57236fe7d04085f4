from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

HERE = Path(__file__).parent
WITH_PROCESSES = (HERE / "crash", HERE / "end_to_end", HERE / "interop")

# Programs are started hundreds of times, and rewriting the assertions of all tests takes ten
# seconds: neither has to compile every module anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A busy machine is slow, and that is no failure.
settings.register_profile("any-load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("any-load"), max_examples=25)
settings.register_profile("half", settings.get_profile("any-load"), max_examples=50)
settings.load_profile("any-load")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Leave room below the folders of tests for paths of sockets, which have 107 bytes at most."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        folder = Path(config.option.basetemp)
        config.option.basetemp = folder.with_name(folder.name.replace(f"popen-{worker}", worker))


def pytest_collection_finish() -> None:
    """Thousands of tests are a large heap, which no collection during them has to go through."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def small_heap() -> Iterator[None]:
    """Collections go through what the test makes, and not through what others have left."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_global_reactor(request: pytest.FixtureRequest) -> Iterator[None]:
    """Time and sockets are arguments: a unit test that gets a real reactor is none."""
    yield
    if not any(request.path.is_relative_to(directory) for directory in WITH_PROCESSES):
        assert "twisted.internet.reactor" not in sys.modules


@pytest.fixture(autouse=True)
def status_follows_its_schema(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each status document that a real relay gives a test is as it is published."""
    if not any(request.path.is_relative_to(directory) for directory in WITH_PROCESSES):
        return
    from relay.cli import control_client
    from tests.status_documents import problem_in_answer

    exchange = control_client._exchange

    def checked(path: str, asked: bytes, seconds_max: float) -> bytes:
        answer = exchange(path, asked, seconds_max)
        problem = problem_in_answer(asked, answer)
        assert not problem, problem
        return answer

    monkeypatch.setattr(control_client, "_exchange", checked)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI=true nothing may be missing: a skip is a failure there."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI=true does not allow: {report.longrepr}"
    return report
