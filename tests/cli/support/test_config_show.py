from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from relay.cli.control_client import NoRelay
from relay.cli.main import main
from relay.cli.support import config_show
from relay.service.configuration.effective import Effective, effective
from relay.service.configuration.file import examine_file, read_configuration
from relay.service.kinds import KINDS
from tests.documents import ROOT, blocks, make_stand_ins, with_stand_ins
from tests.test_documents import completed

SMALL = """
include = ["more.toml"]
[sources.in]
listen = "unixgram:log.sock"
socket_mode = 0o600
"""
MORE = """
[destinations.out]
connect = "tcp://far:514"
match = [{ app_name = "a" }, { msg = { regex = 'a\\d+' } }]
"""
TEXTS = [path.read_text() for path in sorted((ROOT / "deploy").glob("*.toml"))]
TEXTS += [completed(block) for block in blocks("toml")]


def show(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["config", "show", *map(str, arguments)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "relay.toml").write_text(SMALL)
    (tmp_path / "more.toml").write_text(MORE)
    return tmp_path / "relay.toml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("etc")
    make_stand_ins(made)
    return made


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_the_output_is_a_configuration_that_means_the_same(
    number: int, folder: Path, tmp_path: Path
) -> None:
    original, again = folder / "relay.toml", tmp_path / "again.toml"
    original.write_text(with_stand_ins(TEXTS[number], folder))
    for option in ([], ["--changed-only"]):
        done = show("-c", original, *option)
        assert (done.exit_code, done.stderr) == (0, "")
        again.write_text(done.stdout)
        before = read_configuration(str(original), KINDS)
        after = read_configuration(str(again), KINDS)
        if "MASKED" not in done.stdout:
            assert after == before


def test_each_line_says_where_its_value_comes_from(path: Path) -> None:
    lines = [" ".join(line.split()) for line in show("-c", path).stdout.splitlines()]
    assert lines[0] == (f"# {path} with 1 included file; defaults are comments, secrets are masked")
    assert f"socket_mode = 0o600 # {path}:5" in lines
    assert f'connect = "tcp://far:514" # {path.parent}/more.toml:3' in lines
    assert '#oversize = "truncate" # default' in lines
    assert "#authorise # default: all messages are accepted" in lines
    assert "#socket_mode" not in " ".join(lines)


def test_defaults_are_valid_once_their_mark_is_removed(path: Path) -> None:
    lines = show("-c", path).stdout.splitlines()
    given = [line[1:] if line.startswith("#") and " = " in line else line for line in lines]
    assert tomllib.loads("\n".join(given))["relay"]["queue_bytes_max"] == "4 GiB"


def test_only_what_is_changed(path: Path) -> None:
    text = show("-c", path, "--changed-only").stdout
    assert "default\n" not in text and "[relay]" not in text
    assert tomllib.loads(text)["sources"]["in"]["socket_mode"] == 0o600


def test_json_has_the_same(path: Path) -> None:
    document = json.loads(show("-c", path, "--json").stdout)
    assert document["files"] == [str(path), str(path.parent / "more.toml")]
    (source,) = (each for each in document["sections"] if each["path"] == ["sources", "in"])
    assert source["entries"][1] == {
        "key": "socket_mode",
        "value": 0o600,
        "where": f"{path}:5",
        "note": "",
        "form": "permissions",
        "is_changed": True,
    }


def test_problems_are_told_and_the_rest_is_shown(path: Path) -> None:
    path.write_text(SMALL + "modee = 1\n")
    done = show("-c", path)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{path}:6: sources.in.modee: unknown key")
    assert 'modee = "MASKED"' in done.stdout


def test_a_file_that_is_none_ends_the_command(tmp_path: Path) -> None:
    done = show("-c", tmp_path / "none")
    assert done.exit_code == 2
    assert (
        done.stderr == f"syslogrelay: {tmp_path}/none: cannot read it: No such file or directory\n"
    )
    done = show("-d", tmp_path)
    assert (done.exit_code, "--state-dir is for --running" in done.stderr) == (2, True)


def test_the_running_relay_tells_what_it_has_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(*question: object) -> object:
        asked.append(question)
        configuration = examine_file(str(path), KINDS).configuration
        assert configuration is not None
        return msgspec.json.decode(msgspec.json.encode(effective(configuration, KINDS)))

    monkeypatch.setattr(config_show, "ask", answer)
    assert show("--running", "-d", "/var").stdout == show("-c", path).stdout
    assert asked == [("/var", "configuration")]
    monkeypatch.setattr(config_show, "ask", lambda *_: {"files": 3})
    assert "of another version" in show("--running", "-d", "/var").stderr


def test_no_relay_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> object:
        raise NoRelay("no relay is running")

    monkeypatch.setattr(config_show, "ask", refuse)
    done = show("--running", "-d", "/var")
    assert (done.exit_code, done.stderr) == (2, "syslogrelay: no relay is running\n")


def test_a_relay_with_flags_says_so() -> None:
    text = config_show.toml_of(Effective((), []))
    assert text == "# started with flags, without a configuration file\n"
