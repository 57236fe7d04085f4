from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay import __version__
from relay.cli.support import host_facts


def test_versions_of_all_that_takes_part() -> None:
    text = host_facts.versions()
    assert text.startswith(f"syslogrelay {__version__} (")
    for name in ("Python 3.", "LMDB: 0.", "OpenSSL 3", "twisted ", "kernel: Linux ", "msgspec "):
        assert name in text


def test_limits_and_settings_of_the_host(tmp_path: Path) -> None:
    text = host_facts.system(str(tmp_path / "not" / "there"))
    for part in ("nofile ", "net.core.rmem_max = ", "MemAvailable", "load ", "free", "mounted: "):
        assert part in text
    assert f"{tmp_path}/not is not there" in text


def test_a_part_that_cannot_be_told_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "getloadavg", refuse)
    assert "cannot be told: [Errno 5] Input/output error" in host_facts.system("/")


def test_what_the_kernel_knows_of_a_process() -> None:
    text = host_facts.process(os.getpid())
    assert f"Pid:\t{os.getpid()}" in text
    assert "Max open files" in text
    assert f"\n{os.getpid()} " in text.partition("## threads")[2]
    assert "cannot be read: No such file or directory" in host_facts.process(2**22 + 1)


def test_files_are_named_with_sizes_and_permissions(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir(mode=0o700)
    (tmp_path / "queue" / "data.mdb").write_bytes(b"secret")
    (tmp_path / "queue" / "data.mdb").chmod(0o600)
    text = host_facts.files(str(tmp_path))
    assert f"100600 {os.getuid()}:{os.getgid()} 6 B (" in text
    assert text.splitlines()[-1].endswith("queue/data.mdb")
    assert "secret" not in text
    assert "No such file" in host_facts.files(str(tmp_path / "none"))


def test_there_is_an_end_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_facts, "_FILES_MAX", 3)
    for number in range(5):
        (tmp_path / str(number)).touch()
    assert host_facts.files(str(tmp_path)).endswith("\nand more\n")


def test_the_unit_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/proc/7/cgroup": "0::/system.slice/relay.service\n", "/proc/8/cgroup": "0::/user\n"}
    monkeypatch.setattr(host_facts, "_text", lambda path: texts[path])
    assert (host_facts.unit_of(7), host_facts.unit_of(8)) == ("relay.service", "")


def test_the_environment_of_a_process() -> None:
    assert host_facts.environment_of(os.getpid())["PATH"]
    assert host_facts.environment_of(2**22 + 1) == {}
