from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from relay.model.parse_options import ParseOptions
from relay.service.configuration.model import Url
from relay.service.probes.probe import Probe
from relay.service.sources.kernel import KernelConfiguration, KernelSource, probe_kernel_log
from tests.configurations import build_source, new_source, receiving

KMSG = Url("kmsg", is_bare=True)


class Reader:
    def __init__(self, trouble: str = "") -> None:
        self.trouble, self.gaps, self.is_reading = trouble, 2, not trouble
        self.calls: list[object] = []

    def open(self) -> None:
        self.calls.append("open")

    def start(self, position: bytes | None) -> None:
        self.calls.append(position)

    def stop(self) -> None:
        self.calls.append("stop")


def source_with(reader: Any, positions: dict[str, bytes]) -> KernelSource:
    return KernelSource(
        new_source("own", KMSG),
        receiving(Clock()),
        reader=reader,
        positions={"own": positions}.__getitem__,
    )


def test_it_is_opened_with_the_rights_of_the_start_and_begins_where_it_stopped() -> None:
    reader = Reader()
    source = source_with(reader, {"kernel": b"boot 7"})
    source.privilegedStartService()
    assert reader.calls == ["open"]
    source.startService()
    source.stopService()
    assert reader.calls == ["open", b"boot 7", "stop"]


def test_without_privileges_to_give_up_it_is_opened_as_well() -> None:
    reader = Reader()
    source_with(reader, {}).startService()
    assert reader.calls == ["open", None]


def test_its_report() -> None:
    source = source_with(Reader(), {})
    source.startService()
    report = source.report()
    assert (report["state"], report["ready"], report["gaps"]) == ("reads the kernel's log", True, 2)


def test_its_report_says_what_is_wrong() -> None:
    report = source_with(Reader("cannot read /dev/kmsg"), {}).report()
    assert (report["state"], report["ready"]) == ("cannot read /dev/kmsg", False)


def test_what_is_configured_is_read() -> None:
    reader = build_source(
        new_source("own", KMSG, read_from="beginning", frame_bytes_max=500, oversize="drop"),
        reactor=Clock(),
    )._reader
    assert reader._from_beginning
    assert (reader._oversize.frame_bytes_max, reader._oversize._name) == (500, "drop")
    assert (reader._hostname, reader._device) == (b"web-1", "/dev/kmsg")


def test_what_has_no_meaning_is_refused() -> None:
    odd = KernelConfiguration("own", KMSG, oversize="split", parse=ParseOptions(encoding="latin-1"))
    assert "cannot be split" in "".join(odd.problems(str, ()))
    assert odd.encoding_problem().startswith("has no meaning for kmsg")
    assert KernelConfiguration("own", KMSG).encoding_problem() == ""


def test_the_probe_opens_it(tmp_path: Path) -> None:
    (tmp_path / "kmsg").touch()
    probe = Probe("source own", 1.0)
    probe_kernel_log(probe, str(tmp_path / "kmsg"))
    probe_kernel_log(probe, str(tmp_path / "none"))
    assert [finding.fault for finding in probe.findings] == ["", "kernel-log-unreadable"]
