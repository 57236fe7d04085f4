from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli.main import main

CONFIG = 'module(load="imudp")\ninput(type="imudp" port="514")\n*.* /var/log/all\n'


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "rsyslog.conf"
    path.write_text(CONFIG)
    return path


def test_without_options_it_is_a_filter(config: Path, tmp_path: Path) -> None:
    result = run(config)
    assert "sources" in tomllib.loads(result.stdout)
    assert f"{config}:2: " in result.stderr
    assert list(tmp_path.iterdir()) == [config]


def test_files_are_written_and_not_overwritten(config: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "relay.toml", tmp_path / "report"
    arguments = (config, "-o", output, "--report", report)
    result = run(*arguments)
    assert (result.stdout, result.stderr) == ("", "")
    assert tomllib.loads(output.read_text())
    assert report.read_text().splitlines()[0].startswith(f"{config}:1: ")
    again = run(*arguments)
    assert again.exit_code == 2
    assert again.stderr.startswith(f"syslogrelay: {output}: is there already")
    assert run(*arguments, "--force").exit_code == result.exit_code


def test_all_files_are_written_or_none(config: Path, tmp_path: Path) -> None:
    config.write_text(
        'module(load="imudp")\ninput(type="imudp" port="514")\n'
        'action(type="omelasticsearch" server="a" uid="me" pwd="mine-alone")\n'
    )
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "relay.toml").mkdir()
    result = run(config, "-o", folder / "relay.toml", "--force")
    assert result.exit_code == 2
    assert f"{folder}/relay.toml: cannot write it: it is there, and is not a" in result.stderr
    assert [each.name for each in folder.iterdir()] == ["relay.toml"]
    (folder / "relay.toml").rmdir()
    assert run(config, "-o", folder / "relay.toml").exit_code == 0
    modes = {each.name: oct(each.stat().st_mode & 0o777) for each in folder.iterdir()}
    assert "relay.toml" in modes
    assert [mode for name, mode in modes.items() if name != "relay.toml"] == ["0o600"]


def test_what_cannot_be_read_is_status_2(config: Path, tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none", "cannot read it: No such file or directory"),
        (tmp_path, "is no file"),
    ):
        result = run(path)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr
    config.write_text("hello world\n")
    result = run(config)
    assert result.exit_code == 2
    assert "cannot tell what wrote this; say so with --from, one of rsyslog" in result.stderr


def test_what_cannot_be_written_is_status_2(config: Path, tmp_path: Path) -> None:
    result = run(config, "-o", tmp_path / "none" / "relay.toml")
    assert result.exit_code == 2
    assert f"{tmp_path}/none/relay.toml: cannot write it: No such file" in result.stderr


def test_files_that_the_unit_does_not_let_the_relay_write_are_in_the_report(config: Path) -> None:
    said = run(config).stderr.splitlines()[-1]
    assert said.startswith("destinations.all: the relay of a package may write files below ")
    config.write_text(CONFIG.replace("/var/log/all", "/var/log/syslogrelay/all"))
    assert "to be done" not in run(config).stderr
