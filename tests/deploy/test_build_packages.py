"""What build_packages.py decides, and the scripts; `make test-packages` tries the packages."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy import build_packages
from deploy.build_packages import BuildFailed, glibc_needed
from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS

PACKAGE = Path(__file__).parents[2] / "deploy/package"
SCRIPTS = ("postinst", "prerm", "postrm", "rpm-post", "rpm-preun", "rpm-postun")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build_packages, "STAGE", tmp_path / "root")
    (tmp_path / "root" / build_packages.HOME).mkdir(parents=True)
    return tmp_path / "root"


@pytest.mark.parametrize("name", SCRIPTS)
def test_maintainer_scripts_are_right(name: str) -> None:
    script = PACKAGE / name
    subprocess.run(["sh", "-n", script], check=True, timeout=20)
    assert script.read_text().startswith("#!/bin/sh\n") and "\nset -e\n" in script.read_text()
    if checker := shutil.which("shellcheck"):
        done = subprocess.run([checker, script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout


def test_every_script_is_in_the_description() -> None:
    description = (PACKAGE / "nfpm.yaml").read_text()
    assert all(f"deploy/package/{name}\n" in description for name in SCRIPTS)


def test_the_default_configuration_is_right_without_warnings() -> None:
    configuration = read_configuration(str(PACKAGE / "relay.toml"), KINDS)
    assert [source.listen.scheme for source in configuration.sources] == ["system"]
    assert configuration.warnings == ()


def test_the_environment_has_the_hosts_interpreter(stage: Path) -> None:
    build_packages.write_environment()
    programs = stage / "usr/lib/syslogrelay/bin"
    assert str((programs / "python3.11").readlink()) == "/usr/bin/python3.11"
    assert (programs / "python").readlink() == Path("python3")
    assert (programs / "twistd").read_text().startswith("#!/usr/lib/syslogrelay/bin/python\n")
    assert (programs / "syslogrelay").stat().st_mode & 0o777 == 0o755
    assert "version = 3.11\n" in (stage / "usr/lib/syslogrelay/pyvenv.cfg").read_text()
    link = (stage / "usr/bin/syslogrelay").readlink()
    assert (stage / "usr/bin" / link).resolve() == (programs / "syslogrelay").resolve()


def test_modules_that_are_not_compiled_stop_the_build(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"not compiled: .*relay/codec/lines.pyx.*C compiler"):
        build_packages.check_compiled(tmp_path)


def test_documents_are_made(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(program: str | Path, *command: str, **environment: str) -> str:
        """What writes manual pages has tests of its own."""
        if command[0] == "completion":
            return real(program, *command)
        if command[0] == "docs/write_man_pages.py":
            assert environment["SOURCE_DATE_EPOCH"] == "1767355200"
            for page in ("syslogrelay.1", "syslogrelay.toml.5", "syslogrelay.8"):
                (Path(command[1]) / page).write_text(".TH\n")
        return ""

    real = build_packages.run
    monkeypatch.setattr(build_packages, "run", run)
    build_packages.add_documents("0.1.0", NOON)
    for name in (
        *("usr/share/man/man1/syslogrelay.1.gz", "usr/share/man/man5/syslogrelay.toml.5.gz"),
        *("usr/share/man/man8/syslogrelay.8.gz", *build_packages.COMPLETIONS.values()),
        *(f"usr/share/doc/syslogrelay/examples/{name}" for name in build_packages.EXAMPLES),
        *("usr/share/doc/syslogrelay/changelog.Debian.gz", "usr/share/doc/syslogrelay/README.md"),
    ):
        assert (stage / name).exists(), name
    for shell, name in build_packages.COMPLETIONS.items():
        assert f"_SYSLOGRELAY_COMPLETE={shell}_complete" in (stage / name).read_text()


def test_an_empty_completion_stops_the_build(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(program: str | Path, *command: str, **environment: str) -> str:
        return ""

    monkeypatch.setattr(build_packages, "run", run)
    with pytest.raises(BuildFailed, match="completion bash writes nothing"):
        build_packages.add_documents("0.1.0", NOON)


def test_units_are_installed(stage: Path) -> None:
    build_packages.add_units()
    unit = (stage / "usr/lib/systemd/system/syslogrelay.service").read_text()
    assert "ExecStart=/usr/lib/syslogrelay/bin/twistd " in unit
    users = (stage / "usr/lib/sysusers.d/syslogrelay.conf").read_text().splitlines()
    assert 'u syslogrelay - "syslogrelay" /var/lib/syslogrelay' in users
    assert "m syslogrelay systemd-journal" in users


def test_modes_do_not_depend_on_the_umask(stage: Path) -> None:
    build_packages.write("usr/share/x", b"", mode=0o777)
    build_packages.write(f"{build_packages.HOME}/bin/program", b"", mode=0o700)
    build_packages.settle_modes()
    assert (stage / "usr/share/x").stat().st_mode & 0o777 == 0o644
    assert (stage / build_packages.HOME / "bin/program").stat().st_mode & 0o777 == 0o755
    assert (stage / "usr/share").stat().st_mode & 0o777 == 0o755


def test_the_newest_symbol_says_which_glibc_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(b"\0GLIBC_2.9\0GLIBC_2.14\0GLIBC_2.2.5\0")
    (tmp_path / "b.so").write_bytes(b"nothing")
    assert glibc_needed(tmp_path.glob("*.so")) == "2.14"
    assert glibc_needed(tmp_path.glob("b.so")) == "2.17"


def test_a_program_that_fails_says_what_it_said() -> None:
    with pytest.raises(BuildFailed, match=r"sh -c echo no room >&2; exit 3:\nno room"):
        build_packages.run("sh", "-c", "echo no room >&2; exit 3")
    with pytest.raises(BuildFailed, match=r"no-such-program: .*No such file"):
        build_packages.run("no-such-program")


def test_another_python_cannot_build(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_packages, "PYTHON", (3, 9))
    assert build_packages.main(["deb"]) == 1
    assert "the packages are for python3.11; run `make deb" in capsys.readouterr().err


def test_unknown_formats_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_packages.main(["apk"]) == build_packages.main([]) == 2
    assert "deb and rpm" in capsys.readouterr().err
