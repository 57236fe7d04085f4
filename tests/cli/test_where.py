from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from relay.cli import where as where_module
from relay.cli.where import Where, located, where_options
from relay.model.errors import QueueError

RELAY = '[relay]\nstate_dir = "here"\n'
GOOD = (
    RELAY + '[sources.in]\nlisten = "udp://:1514"\n'
    'authorise = ["token"]\n[destinations.out]\nconnect = "tcp://far:1"\n'
    'rewrite = { mode = "tag", token_file = "tok" }\n'
    '[apps.one]\ntoken_file = "tok"\n'
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file; the host has none of its own."""
    monkeypatch.delenv("SYSLOGRELAY_STATE_DIR", raising=False)
    monkeypatch.setattr(where_module, "DEFAULT_PATH", str(tmp_path / "etc" / "relay.toml"))
    (tmp_path / "tok").write_text("secret-of-ours-123")
    path = tmp_path / "relay.toml"
    path.write_text(GOOD)
    return path


@click.command()
@where_options
@click.argument("word")
def say(where: Where, word: str) -> None:
    """Say it."""
    if word == "fail":
        raise QueueError("it is gone")
    click.echo(f"{where.state_dir} {[secret.decode() for secret in where.secrets]} {word}")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(say, [*arguments, "x"])


def test_the_options_say_which_relay(config: Path) -> None:
    here = f"{config.parent}/here"
    assert run().output == "/var/lib/syslogrelay [] x\n"
    secrets = "['secret-of-ours-123', 'secret-of-ours-123']"
    for option in ("--state-dir", "-d"):
        assert run(option, "/there").output == "/there [] x\n"
    for option in ("--config", "-c"):
        assert run(option, str(config)).output == f"{here} {secrets} x\n"
        assert run(option, str(config), "-d", "/there").output == f"/there {secrets} x\n"
    assert "Say it." in CliRunner().invoke(say, ["--help"]).output


def test_the_environment_and_a_file_at_the_usual_place_are_defaults(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = config.parent / "etc" / "relay.toml"
    usual.parent.mkdir()
    usual.write_text(GOOD.replace("here", "usual").replace('"tok"', '"../tok"'))
    assert run().output.startswith(f"{usual.parent}/usual ['secret")
    monkeypatch.setenv("SYSLOGRELAY_STATE_DIR", "/from/environment")
    assert run().output == "/from/environment [] x\n"
    assert run("-d", "/there").output == "/there [] x\n"
    assert run("-c", str(config)).output.startswith(f"{config.parent}/here ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD + "typo = 1\n", "relay.toml:11: apps.one.typo: unknown key"),
        (GOOD.replace('token_file = "tok" }', 'token_file = "gone" }'), "gone"),
        (GOOD + "half = \n", ":11:8: expected a value"),
        (RELAY + '[sources.in]\nlisten = "tls://:1"\ncertificate = "gone.pem"\n', ":3: sources.in"),
        (RELAY, "there is none"),
    ],
)
def test_a_file_with_errors_will_do_as_long_as_it_says_where(
    config: Path, text: str, problem: str
) -> None:
    config.write_text(text)
    done = run("--config", str(config))
    assert (done.exit_code, done.stdout.split()[0]) == (0, f"{config.parent}/here")
    assert done.stderr.startswith("syslogrelay: warning: ")
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    assert f"continuing with state directory {config.parent}/here" in done.stderr


def test_tokens_that_can_be_read_are_masked_whatever_else_is_wrong(config: Path) -> None:
    config.write_text(GOOD + "typo = 1\n")
    assert run("--config", str(config)).stdout.count("secret-of-ours-123") == 1
    where = located(None, str(config), {})
    assert where.destinations is None  # half a file does not say who is an orphan


@pytest.mark.parametrize(
    "text",
    [
        '[relay]\nstate_dir = "here\n',
        '[relay]\nstate_dir = "here"\nstate_dir = "there"\n',
        "[relay]\nstate_dir = 7\n",
        'relay = "here"\n',
        "[relay]\nstate_dir = \n",
    ],
)
def test_a_directory_is_never_guessed(config: Path, text: str) -> None:
    config.write_text(text)
    done = run("--config", str(config))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "name the state directory of the relay with --state-dir" in done.stderr
    done = run("--config", str(config), "--state-dir", "/there")
    assert (done.exit_code, done.stdout) == (0, "/there [] x\n")
    assert "warning" in done.stderr


def test_a_file_that_says_nothing_of_it_means_the_default(config: Path) -> None:
    config.write_text("[relay]\nname = \n")
    done = run("--config", str(config))
    assert done.stdout == "/var/lib/syslogrelay [] x\n"
    assert "no line of it says another one" in done.stderr


def test_what_is_not_utf_8_is_read_for_that_line_all_the_same(config: Path) -> None:
    config.write_bytes(b"# gr\xfcn\n" + RELAY.encode())
    done = run("--config", str(config))
    assert done.stdout.split()[0] == f"{config.parent}/here"
    assert "relay.toml:1:5: not UTF-8" in done.stderr


def test_what_cannot_be_done_is_one_line_and_status_two(config: Path) -> None:
    done = CliRunner().invoke(say, ["fail"])
    assert (done.exit_code, done.output) == (2, "syslogrelay: it is gone\n")
    done = run("--config", str(config.parent / "none.toml"))
    assert done.exit_code == 2
    assert "none.toml: cannot read it: No such file or directory" in done.output
