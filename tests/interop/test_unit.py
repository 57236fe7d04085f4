"""The units in deploy/, judged by systemd's own programs; no systemd has to run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from relay.service.configuration.credentials import UNIT_DIRECTORY
from relay.service.configuration.file import DEFAULT_PATH
from tests.interop.packages import PackagesRoot

DEPLOY = Path(__file__).parents[2] / "deploy"
EXPOSURE_MAX = 20  # tenths of a point of 10
ANALYZE = "usr/bin/systemd-analyze"
UNITS = ("syslogrelay.service", "syslogrelay.socket")
PROGRAMS = ("usr/lib/syslogrelay/bin/syslogrelay", "usr/lib/syslogrelay/bin/twistd")


@pytest.fixture
def host(packages: PackagesRoot, tmp_path: Path) -> Path:
    """The root of a host with systemd's units and ours, and programs of the right names."""
    units = tmp_path / "usr/lib/systemd/system"
    shutil.copytree(packages.root / "lib/systemd/system", units, symlinks=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    for unit in UNITS:
        shutil.copy(DEPLOY / unit, units)
    for name in PROGRAMS:
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return tmp_path


def run(packages: PackagesRoot, program: Path, *arguments: str | Path) -> str:
    """What it writes; it has to succeed."""
    done = subprocess.run(
        [program, *arguments],
        env=packages.environment | {"SYSTEMD_LOG_LEVEL": "warning", "SYSTEMD_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_unit_exposes_little(packages: PackagesRoot) -> None:
    unit = DEPLOY / "syslogrelay.service"
    options = ("--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}")
    assert "Overall exposure" in run(packages, packages.root / ANALYZE, "security", *options, unit)


def test_systemd_finds_no_fault_with_the_units(packages: PackagesRoot, host: Path) -> None:
    options = (f"--root={host}", "--man=no", "--recursive-errors=no")
    assert run(packages, packages.root / ANALYZE, "verify", *options, *UNITS) == ""


def test_a_fault_would_be_found(packages: PackagesRoot, host: Path) -> None:
    with (host / "usr/lib/systemd/system/syslogrelay.service").open("a") as unit:
        unit.write("\n[Service]\nProtectSytem=strict\n")
    options = (f"--root={host}", "--man=no", "--recursive-errors=no")
    with pytest.raises(AssertionError, match="Unknown key 'ProtectSytem'"):
        run(packages, packages.root / ANALYZE, "verify", *options, UNITS[0])


def test_the_drop_in_makes_it_syslog_service(packages: PackagesRoot, host: Path) -> None:
    folder = host / "etc/systemd/system/syslogrelay.service.d"
    folder.mkdir(parents=True)
    shutil.copy(DEPLOY / "syslog.conf", folder)
    run(
        packages, packages.root / "bin/systemctl", f"--root={host}", "enable", "syslogrelay.service"
    )
    enabled = host / "etc/systemd/system"
    assert (enabled / "syslog.service").readlink().name == "syslogrelay.service"
    assert (enabled / "multi-user.target.wants/syslogrelay.service").is_symlink()
    options = (f"--root={host}", "--man=no", "--recursive-errors=no")
    assert run(packages, packages.root / ANALYZE, "verify", *options, UNITS[0]) == ""


def test_unit_and_commands_agree_about_places() -> None:
    unit = (DEPLOY / "syslogrelay.service").read_text()
    assert f"syslogrelay --config {DEFAULT_PATH}\n" in unit
    assert f"syslogrelay reload --config {DEFAULT_PATH}\n" in unit
    assert Path(UNIT_DIRECTORY) == Path("/run/credentials") / UNITS[0]
