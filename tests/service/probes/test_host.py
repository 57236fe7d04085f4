from __future__ import annotations

import resource
from pathlib import Path

import pytest

from relay.service.configuration.model import Configuration
from relay.service.probes import host
from relay.service.probes.host import probe_host
from relay.service.probes.probe import Probe

MiB = 2**20


def configuration(state_dir: Path) -> Configuration:
    return Configuration(
        state_dir=str(state_dir),
        queue_bytes_max=100 * MiB,
        min_free_bytes=10 * MiB,
        allow_volatile_state=True,
    )


def faults(probe: Probe) -> list[str]:
    return [each.fault or each.step for each in probe.findings]


@pytest.mark.parametrize(
    ("free", "fault"),
    [(110 * MiB, "disk"), (109 * MiB, "disk-smaller-than-queue"), (10 * MiB, "disk-full")],
)
def test_the_disk_against_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, fault: str
) -> None:
    monkeypatch.setattr(host, "room_at", lambda path: (free, 2**40))
    probe = Probe("relay", 1)
    probe_host(probe, configuration(tmp_path))
    assert faults(probe) == ["path", fault, "descriptors"]


def test_what_the_queue_has_already_needs_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "data.mdb").write_bytes(bytes(5 * MiB))
    monkeypatch.setattr(host, "room_at", lambda path: (106 * MiB, 2**40))
    probe = Probe("relay", 1)
    probe_host(probe, configuration(tmp_path))
    assert "disk" in faults(probe)


def test_a_state_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    probe = Probe("relay", 1)
    probe_host(probe, configuration(tmp_path / "state"))
    assert faults(probe) == ["state-dir-unfit", "descriptors"]


def test_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (20, 20))
    probe = Probe("relay", 1)
    probe_host(probe, configuration(tmp_path))
    assert faults(probe)[-1] == "descriptors-low"
    assert "LimitNOFILE" in probe.findings[-1].remedy
