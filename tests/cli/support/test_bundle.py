from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli.main import main
from relay.cli.support import bundle as module
from relay.cli.support.bundle import write
from relay.cli.support.bundle_parts import Part, Subject
from relay.cli.support.scrubbing import Scrubber
from relay.service.configuration.effective import Effective

PARTS = [Part("a.txt", b"content"), Part("b.json.failed", b"why\nmore\n", "why\nmore")]


@pytest.fixture(autouse=True)
def subjects(monkeypatch: pytest.MonkeyPatch) -> list[Subject]:
    """What bundles were made of."""
    made: list[Subject] = []

    def collect(subject: Subject, scrubber: Scrubber) -> list[Part]:
        made.append(subject)
        return PARTS

    monkeypatch.setattr(module, "collected", collect)
    return made


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bundle", "-d", "/var/none", *map(str, arguments)])


def test_an_archive_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    write(str(path), PARTS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [
            *("x/README.txt", "x/a.txt", "x/b.json.failed"),
        ]
        assert {member.mode for member in members} == {0o600}
        readme = archive.extractfile(members[0])
        assert readme is not None
        text = readme.read().decode()
    assert "         7 B  a.txt\n         9 B  b.json.failed  why\n" in text


def test_the_list_is_shown_and_nothing_written(tmp_path: Path) -> None:
    done = run("--list", "-o", tmp_path / "x")
    assert (done.exit_code, done.stdout) == (
        0,
        "         7 B  a.txt\n         9 B  b.json.failed  why\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_without_a_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("-o", tmp_path / "x")
    assert done.exit_code == 2
    assert "there is no terminal to ask at; add --yes, or --list" in done.stderr
    assert run("-o", tmp_path / "x", "--yes").exit_code == 0
    again = run("-o", tmp_path / "x", "--yes")
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)


@pytest.mark.parametrize(("answer", "is_written"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_it_asks_at_a_terminal(
    answer: str, is_written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_is_terminal", lambda: True)
    path = tmp_path / "x"
    command = ["bundle", "-d", "/var/none", "-o", str(path)]
    done = CliRunner().invoke(main, command, input=answer)
    assert f"Write {path}? [y/N]" in done.stdout
    assert (path.exists(), done.exit_code) == (is_written, 0 if is_written else 1)


def test_the_name_says_host_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("--yes").exit_code == 0
    (made,) = tmp_path.iterdir()
    assert made.name.startswith("syslogrelay-bundle-") and made.name.endswith("Z.tar.gz")


def test_where_the_relay_is(
    tmp_path: Path, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEFAULT_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("SYSLOGRELAY_STATE_DIR", raising=False)
    path = tmp_path / "relay.toml"
    path.write_text(f'[relay]\nstate_dir = "{tmp_path}/state"\n')
    CliRunner().invoke(main, ["bundle", "--list", "-c", str(path)])
    CliRunner().invoke(main, ["bundle", "--list"])
    path.write_text("[relay\n")
    CliRunner().invoke(main, ["bundle", "--list", "-c", str(path)])
    CliRunner().invoke(main, ["bundle", "--list", "-c", "/none/at-all", "-d", "/x"])
    assert [each.state_dir for each in subjects] == [
        *(f"{tmp_path}/state", "/var/lib/syslogrelay", "/var/lib/syslogrelay", "/x"),
    ]
    path.write_text("")
    running = Effective((str(path),), [])
    monkeypatch.setattr(module, "running_document", lambda state_dir: running)
    CliRunner().invoke(main, ["bundle", "--list", "-d", "/x"])
    assert (subjects[-1].config, subjects[-1].state_dir) == (str(path), "/x")
    assert subjects[1].examined is None
    assert subjects[0].pid == 0
