"""The command line.  What needs a reactor runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from twisted.copyright import version as twisted_version

from relay import __version__
from relay.service.configuration import UnreadToken
from relay.service.interpreter import is_pure
from relay.service.options import Options, _configuration, makeService
from relay.service.refusal import StartRefused
from relay.service.url import CONNECT_SCHEMES, LISTEN_SCHEMES

ROOT = Path(__file__).parents[2]

TWISTD = "import sys; sys.path.insert(0, {root!r}); from twisted.scripts.twistd import run; run()"

# Stands in for the object graph, which opens nothing before its start either.
ASSEMBLY = """
import sys, types
sys.path.insert(0, {root!r})
from twisted.application.service import MultiService
assembly = types.ModuleType("relay.service.assembly")
def assemble(reactor, configuration, systemd, *, now):
    print(type(reactor).__name__, configuration.name, len(configuration.sources))
    return MultiService()
assembly.assemble = assemble
sys.modules["relay.service.assembly"] = assembly
from relay.service.interpreter import is_pure
from relay.service.options import Options, makeService
assert "twisted.internet.reactor" not in sys.modules
options = Options()
options.parseOptions(sys.argv[1:])
print(type(makeService(options)).__name__)
"""


def run(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code.format(root=str(ROOT)), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=30)


def refused(*arguments: str) -> list[str]:
    options = Options()
    options.parseOptions(list(arguments))
    with pytest.raises(StartRefused) as caught:
        makeService(options)
    return caught.value.text.split("\n")


def test_flags_repeat() -> None:
    options = Options()
    options.parseOptions(["--listen", "a", "--forward", "b", "--listen=c", "--name", "d"])
    assert options["listen"] == ["a", "c"]
    assert options["forward"] == ["b"]
    assert options["name"] == "d"


def test_one_process_may_parse_twice() -> None:
    first, second = Options(), Options()
    first.parseOptions(["--listen", "a"])
    second.parseOptions([])
    assert second["listen"] == []


def test_help_explains_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Options().parseOptions(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    flags = ("config", "listen", "forward", "state-dir", "rewrite", "token-file", "name")
    for flag in (*flags, "trusted-ca", "version"):
        assert f"--{flag}" in text
    assert "twistd --nodaemon syslogrelay --config /etc/syslogrelay/relay.toml\n" in text


def test_help_names_every_scheme(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Options().parseOptions(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    listens, _, forwards = text.partition("forwards to")
    assert not [scheme for scheme in LISTEN_SCHEMES if scheme not in listens]
    assert not [scheme for scheme in CONNECT_SCHEMES if scheme not in forwards]


def test_a_slip_is_said_first_and_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Options().parseOptions(["--confg", "x"])
    assert caught.value.code == 2
    assert capsys.readouterr() == (
        "",
        "twistd syslogrelay: option --confg not recognized, did you mean '--config'?\n"
        "All options: twistd syslogrelay --help\n",
    )


def test_the_short_options_are_those_of_the_other_commands() -> None:
    options = Options()
    options.parseOptions(["-c", "a", "-d", "b"])
    assert (options["config"], options["state-dir"]) == ("a", "b")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Options().parseOptions(["--version"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    how = "pure Python" if is_pure() else "compiled"
    assert text == f"syslogrelay {__version__} ({how})\nTwisted {twisted_version}\n"


def test_nothing_to_do() -> None:
    assert refused() == [
        "nothing to do: start with --config FILE, or with --listen URL and --forward URL (more "
        "with --help)"
    ]


def test_a_file_excludes_the_flags() -> None:
    assert refused("-c", "x", "--name", "a", "--listen", "b") == [
        "--config and --listen, --name exclude each other; write it all into the file"
    ]


def test_problems_of_a_file_are_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text("[sources.in]\n[destinations.out]\n")
    assert refused("--config", str(path)) == [
        f'{path}:1: sources.in.listen: is missing; write for example listen = "tcp://0.0.0.0:514"',
        f"{path}:2: destinations.out.connect: is missing; write for example connect = "
        '"relp://central.example.com:20514"',
    ]


def test_relative_paths_of_flags_start_at_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ("--listen", "udp://:1", "--forward", "udp://far:1", "--state-dir", "state")
    options = Options()
    options.parseOptions([*flags, "--rewrite", "cee", "--token-file", "token"])
    configuration = _configuration(options)
    (destination,) = configuration.destinations
    assert isinstance(destination.rewrite.token, UnreadToken)
    assert destination.rewrite.token.file == f"{tmp_path}/token"
    assert configuration.state_dir == f"{tmp_path}/state"


def test_a_good_command_line_is_assembled_with_the_reactor(tmp_path: Path) -> None:
    flags = ("--listen", "udp://:0", "--forward", "udp://far:1", "--name", "web-1")
    result = run(ASSEMBLY, *flags, cwd=tmp_path)
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["EPollReactor web-1 1", "MultiService"]


@pytest.mark.parametrize("mode", [("--nodaemon",), ("--logfile=log",)])
def test_twistd_shows_only_the_problems(mode: tuple[str, ...], tmp_path: Path) -> None:
    flags = ("--listen", "udp:1", "--forward", "relp://far")
    result = run(TWISTD, *mode, "syslogrelay", *flags, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "--listen 'udp:1': udp needs two slashes and a port, as in udp://:514",
        "--forward 'relp://far': the port is missing; write it as in relp://host:20514",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flag", "shown"), [("--help", "Examples:"), ("--version", __version__)])
def test_twistd_help_and_version(flag: str, shown: str, tmp_path: Path) -> None:
    result = run(TWISTD, "syslogrelay", flag, cwd=tmp_path)
    assert result.returncode == 0
    assert shown in result.stdout
    assert list(tmp_path.iterdir()) == []
