"""The command line.  What needs a reactor runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import twisted.internet
from twisted.application.service import MultiService
from twisted.copyright import version as twisted_version

from relay import __version__
from relay.codec import IS_COMPILED
from relay.service import assembly
from relay.service import options as options_module
from relay.service.configuration.model import UnreadToken
from relay.service.flags import OtherFlags
from relay.service.handover.arrival import Arrival
from relay.service.kinds import KINDS
from relay.service.options import Options, configuration_of, makeService
from relay.service.refusal import StartRefused

ROOT = Path(__file__).parents[2]

TWISTD = "import sys; sys.path.insert(0, {root!r}); from twisted.scripts.twistd import run; run()"

# Stands in for the object graph, which opens nothing before its start either.
ASSEMBLY = """
import sys, types
sys.path.insert(0, {root!r})
from twisted.application.service import MultiService
assembly = types.ModuleType("relay.service.assembly")
def assemble(reactor, configuration, systemd, *, now, arrival):
    print(type(reactor).__name__, configuration.name, len(configuration.sources))
    return MultiService()
assembly.assemble = assemble
sys.modules["relay.service.assembly"] = assembly
from relay.codec import IS_COMPILED
from relay.service.options import Options, makeService
assert "twisted.internet.reactor" not in sys.modules
options = Options()
options.parseOptions(sys.argv[1:])
print(type(makeService(options)).__name__)
"""

# Everything that a relay of the command line's options has loaded when it is about to start.
LOADED = """
import sys
sys.path.insert(0, {root!r})
from relay.service.options import Options, makeService
options = Options()
options.parseOptions(sys.argv[1:])
options.parent = {{}}
makeService(options)
print(*sys.modules)
"""
RARE = {
    "click",
    "regex",
    "relay.cli",
    "relay.queue.compaction.offline",
    "relay.service.tls.certificates",
}


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
    # A line of the help may end at the hyphen of a name.
    text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    listens, _, forwards = text.partition("forwards to")
    assert not [scheme for scheme in KINDS.by_scheme("listen") if scheme not in listens]
    assert not [scheme for scheme in KINDS.by_scheme("connect") if scheme not in forwards]


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
    how = "compiled" if IS_COMPILED else "pure Python"
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
    configuration = configuration_of(options)
    (destination,) = configuration.destinations
    assert isinstance(destination.rewrite.token, UnreadToken)
    assert destination.rewrite.token.file == f"{tmp_path}/token"
    assert configuration.state_dir == f"{tmp_path}/state"


HELP = """\
{--config FILE | --listen URL... --forward URL...} [options]
Options:
  -c, --config=      Read everything from this TOML file; excludes the other options.
  -d, --state-dir=   Directory of the disk queue. [default: /var/lib/syslogrelay]
      --forward=     Pass messages on to here; may be repeated.
      --help         Display this help and exit.
      --listen=      Take messages here; may be repeated.
      --name=        Name of this relay. [default: the host's name]
      --rewrite=     none, cee, json, tag, app-name or ewmm. [default: none]
      --token-file=  File with the token for cee, json, tag and app-name.
      --trusted-ca=  PEM file that verifies TLS upstreams. [default: the system's]
      --version      Show the versions of syslogrelay and Twisted, and exit.

Takes syslog messages, keeps each on disk until the next hop has acknowledged it, and passes it on.
Listens on udp, dtls, tcp, tls, relp, relp+tls, http, https (://host:port), kafka, kafka+tls
(://host:port[,host:port…][/topic]), unixgram, unix, file, pipe, program (:///path), systemd
(://NAME), system, kmsg, internal (://), journald (://[/directory]), nats, nats+tls
(://host:port[,host:port…][/stream]), default-network, sematext-receiver (://[host]); forwards to
udp, dtls, tcp, tls, relp, relp+tls (://host:port), file, unix, unixgram, pipe, program (:///path),
usertty (://), sematext (://us), http, https (://host[:port][/path]), nats, nats+tls
(://host:port[,host:port…][/stream]), kafka, kafka+tls (://host:port[,host:port…][/topic]). No host
means all addresses. With flags every source feeds every destination, and both get their ids from
their URLs; a configuration file can do more.

Examples:
  twistd --nodaemon syslogrelay --config /etc/syslogrelay/relay.toml

  twistd --nodaemon syslogrelay --state-dir var \\
      --listen udp://:5514 --listen tcp://:5514 --listen unixgram:var/log.sock \\
      --forward relp://central.example.com:20514

  twistd --nodaemon syslogrelay --state-dir var --listen unix:///run/relay/log \\
      --forward relp+tls://central.example.com:20515 --trusted-ca ca.pem \\
      --rewrite cee --token-file token

Options of twistd itself (--nodaemon, --pidfile, --logfile, --uid, --gid) stand
before "syslogrelay".  `syslogrelay check FILE` looks for errors in a file.
"""


def test_the_help_as_it_is_shown() -> None:
    options = Options()
    assert f"{options.getSynopsis()}\n{options.getUsage(100)}" == HELP


class Started:
    """What `makeService` does with the parts that it needs a process for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor, self.service, self.systemd = object(), MultiService(), object()
        self.called: dict[str, tuple[Any, ...]] = {}
        systemd: Any = self.systemd
        self.arrival = Arrival(systemd=systemd)
        monkeypatch.setattr(twisted.internet, "reactor", self.reactor, raising=False)
        monkeypatch.setitem(sys.modules, "twisted.internet.reactor", self.reactor)
        monkeypatch.setattr(assembly, "assemble", self._noted("assemble", self.service))
        for name, answer in (
            *(("take_systemd", self.systemd), ("run_steadily", None)),
            *(("new_observer", "observer"), ("show_whole_refusals", None)),
            ("initial_environment", "initial"),
            *(("own_program", "program"), ("arrive", self.arrival)),
        ):
            monkeypatch.setattr(options_module, name, self._noted(name, answer))

    def _noted(self, name: str, answer: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.called[name] = (*arguments, keywords)
            return answer

        return call


def test_a_service_is_made_of_the_process_it_runs_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logged: list[str]
) -> None:
    started = Started(monkeypatch)
    options = Options()
    options.parent = parent = object()  # as twistd sets it
    flags = ["--listen", "udp://:0", "--forward", "udp://far:1", "--name", "web-1"]
    options.parseOptions([*flags, "-d", str(tmp_path)])
    service: Any = makeService(options)
    assert service is started.service
    assert service.log_observer == "observer"
    reactor, configuration, systemd, keywords = started.called["assemble"]
    assert (reactor, systemd) == (started.reactor, started.systemd)
    assert keywords == {"now": time.time, "arrival": started.arrival}
    assert started.called["own_program"] == (parent, {})
    assert started.called["arrive"] == (os.environ, started.systemd, "program", {})
    assert configuration.name == "web-1"
    assert started.called["take_systemd"] == (
        os.environ,
        {"initial": "initial", "pid": os.getpid()},
    )
    assert started.called["run_steadily"] == (started.reactor, {})
    assert started.called["new_observer"] == (parent, os.environ, {})
    assert started.called["show_whole_refusals"] == ({},)
    assert logged == [f"syslogrelay {__version__} starts as web-1: its state is in {tmp_path}"]


def test_a_start_goes_on_without_what_may_come_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = Started(monkeypatch)
    path = tmp_path / "relay.toml"
    path.write_text(
        f"""
        [relay]
        state_dir = "{tmp_path}"
        [sources.in]
        listen = "udp://127.0.0.1:514"
        [destinations.out]
        connect = "udp://192.0.2.1:514"
        rewrite = {{ mode = "cee", token_file = "missing" }}
        """
    )
    options = Options()
    options.parseOptions(["--config", str(path)])
    makeService(options)
    (destination,) = started.called["assemble"][1].destinations
    assert isinstance(destination.rewrite.token, UnreadToken)
    assert started.called["new_observer"] == (None, os.environ, {})  # twistd does not run


@pytest.mark.parametrize("given", [True, False])
def test_flags_stand_for_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: bool
) -> None:
    told: list[Any] = []

    def from_flags(*arguments: Any, **keywords: Any) -> None:
        told.extend((*arguments, keywords))

    monkeypatch.setattr(options_module, "configuration_from_flags", from_flags)
    monkeypatch.chdir(tmp_path)
    names = ("state-dir", "rewrite", "token-file", "name", "trusted-ca")
    values = {name.replace("-", "_"): f"a-{name}" if given else "" for name in names}
    values["rewrite"] = values["rewrite"] or "none"
    options = Options()
    flags = [f"--{name}=a-{name}" for name in names] if given else []
    options.parseOptions([*flags, "--listen=b", "--listen=c"])
    configuration_of(options)
    assert told == [["b", "c"], [], KINDS, OtherFlags(**values), {"base_dir": str(tmp_path)}]
    told.clear()
    options = Options()
    options.parseOptions(["--forward=b"])
    configuration_of(options)
    assert told[:2] == [[], ["b"]]


def test_slips_that_are_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    for given, said in (
        (["loose"], "twistd syslogrelay: Wrong number of arguments.\n"),
        (["--xyzzyx"], "twistd syslogrelay: option --xyzzyx not recognized\n"),
        (
            ["--listem", "x"],
            "twistd syslogrelay: option --listem not recognized, did you mean '--listen'?\n",
        ),
    ):
        with pytest.raises(SystemExit) as caught:
            Options().parseOptions(given)
        assert caught.value.code == 2
        assert capsys.readouterr().err == f"{said}All options: twistd syslogrelay --help\n"


@pytest.mark.slow
def test_a_good_command_line_is_assembled_with_the_reactor(tmp_path: Path) -> None:
    flags = ("--listen", "udp://:0", "--forward", "udp://far:1", "--name", "web-1")
    result = run(ASSEMBLY, *flags, cwd=tmp_path)
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["EPollReactor web-1 1", "MultiService"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("listen", "connect", "table", "rare"),
    [
        ("tcp://:0", "relp://far:1", "rewrite = { mode = 'cee', token_file = 'token' }", set()),
        ("udp://:0", "file:///out.log", "", set()),
        ("tcp://:0", "tcp://far:1", "match = { msg = { regex = '^(?!a)' } }", {"regex"}),
    ],
)
def test_what_is_rarely_used_takes_no_memory(
    listen: str, connect: str, table: str, rare: set[str], tmp_path: Path
) -> None:
    """Each module of RARE takes some 100 KiB to 1 MiB of an idle relay."""
    (tmp_path / "token").write_text("abcdefgh")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "relay.toml").write_text(
        f"""
        relay.state_dir = "state"
        sources.here.listen = "{listen}"
        [destinations.there]
        connect = "{connect}"
        {table}
        """
    )
    result = run(LOADED, "--config", "relay.toml", cwd=tmp_path)
    assert result.stderr == ""
    loaded = set(result.stdout.split())
    assert "relay.service.assembly" in loaded
    assert loaded & RARE == rare


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "shown"), [("--help", "Examples:"), ("--version", __version__)])
def test_twistd_help_and_version(flag: str, shown: str, tmp_path: Path) -> None:
    result = run(TWISTD, "syslogrelay", flag, cwd=tmp_path)
    assert result.returncode == 0
    assert shown in result.stdout
    assert list(tmp_path.iterdir()) == []
