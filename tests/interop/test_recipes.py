"""The configurations of rsyslog and syslog-ng in the documents, with the programs themselves.

In docs/recipes.md the relay's configuration follows that of a peer: both run as they stand there,
but for paths and ports, and messages have to get from one to the other.  The configurations of
other pages are read by their program.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from tests.documents import Block, blocks, make_stand_ins, with_stand_ins
from tests.interop.packages import PackagesRoot
from tests.plain_senders import feed_lines
from tests.processes import Program, free_port, is_listening_tcp, running_programs, wait_until
from tests.relay_process import FOREGROUND, twistd

PEERS = ("rsyslog", "syslog-ng")
FEED = "1514"
"""Where the sender of a pair takes messages."""
PORT = re.compile(r'(?<=port\()\d+|(?<=port=")\d+|(?<=:)\d{3,5}(?=")')
"""Ports in configurations of syslog-ng, rsyslog and the relay."""
COUNT = 20


def pairs() -> Iterator[tuple[Block, Block]]:
    """Each configuration of a peer with that of the relay that follows it."""
    for peer, relay in pairwise(blocks(*PEERS, "toml")):
        is_recipe = peer.place.startswith("docs/recipes.md")
        if is_recipe and peer.language in PEERS and relay.language == "toml":
            yield peer, relay


PAIRS = list(pairs())
ALONE = [block for block in blocks(*PEERS) if block not in [peer for peer, _ in PAIRS]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_stand_ins(tmp_path)
    return tmp_path


def placed(text: str, folder: Path, ports: Mapping[str, int]) -> str:
    """A configuration that needs nothing but `folder` and free ports."""
    text = with_stand_ins(text, folder).replace("central.example.com:", "127.0.0.1:")
    text = text.replace("/var/log/remote.log", str(folder / "remote.log"))
    text = re.sub(r"/var/spool/(rsyslog|syslog-ng)", str(folder), text)
    return PORT.sub(lambda match: str(ports[match[0]]), text)


def ports_of(*texts: str) -> dict[str, int]:
    return {port: free_port() for text in texts for port in PORT.findall(text)}


def peer_command(packages: PackagesRoot, language: str, path: Path) -> list[str]:
    if language == "rsyslog":
        modules = str(packages.rsyslog_modules)
        return [str(packages.rsyslogd), "-C", "-f", str(path), "-M", modules]
    modules = f"--module-path={packages.syslog_ng_modules}"
    return [str(packages.syslog_ng), "-F", "-e", "--no-caps", "-f", str(path), modules]


def peer_program(
    packages: PackagesRoot, block: Block, folder: Path, ports: Mapping[str, int]
) -> Program:
    path = folder / "peer.conf"
    # All of the SCL needs modules of other packages.
    ewmm = f'@module appmodel\n@include "{packages.syslog_ng_include}/scl/ewmm/ewmm.conf"'
    text = placed(block.text, folder, ports)
    path.write_text(text.replace('@include "scl.conf"', ewmm))
    own = ["-n", "-i", str(folder / "peer.pid")]
    if block.language == "syslog-ng":
        own = [f"--{name}={folder / name}" for name in ("persist-file", "pidfile", "control")]
    listeners = listens(block.text)
    return Program(
        [*peer_command(packages, block.language, path), *own],
        folder=folder,
        name="peer",
        environment=packages.environment,
        is_ready=lambda: all(is_listening_tcp(ports[port]) for port in listeners),
    )


def relay_program(block: Block, folder: Path, ports: Mapping[str, int]) -> Program:
    path = folder / "relay.toml"
    own = f'\n[relay]\nstate_dir = "{folder / "state"}"\nallow_volatile_state = true\n'
    path.write_text(placed(block.text, folder, ports) + own)
    listeners = re.findall(r'^listen = ".*:(\d+)"', block.text, re.MULTILINE)
    return Program(
        [sys.executable, twistd(), *FOREGROUND, "syslogrelay", "--config", str(path)],
        folder=folder,
        name="relay",
        is_ready=lambda: all(is_listening_tcp(ports[port]) for port in listeners),
    )


def listens(text: str) -> list[str]:
    """The ports that a peer listens at: those of its input or source."""
    places = re.findall(r"^(?:input|source)\b.*?^(?=\w|\Z)", text + "\n", re.MULTILINE | re.DOTALL)
    return [port for place in places for port in PORT.findall(place)]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].place)
def test_messages_get_through(
    packages: PackagesRoot, folder: Path, pair: tuple[Block, Block]
) -> None:
    peer, relay = pair
    ports = ports_of(peer.text, relay.text)
    programs = [peer_program(packages, peer, folder, ports), relay_program(relay, folder, ports)]
    if FEED in listens(peer.text):
        programs.reverse()  # the receiver first
    with running_programs() as running:
        for program in programs:
            running.add(program)
            program.start()
        feed_lines(ports[FEED], [message(number) for number in range(COUNT)])
        wait_until(lambda: len(arrived(folder)) >= COUNT, "the messages in the receiver's file")
        assert arrived(folder) == list(range(COUNT))


def message(number: int) -> bytes:
    stamp = f"2026-10-11T22:14:15.{number:06}Z"
    return f"<13>1 {stamp} web-1 app 7 ID1 - number {number}".encode()


def arrived(folder: Path) -> list[int]:
    """The numbers of messages in the receiver's file, with the sender's name in the same line."""
    path = folder / "remote.log"
    text = path.read_text() if path.exists() else ""
    return [int(number) for number in re.findall(r"web-1\b.*\bnumber (\d+)", text)]


@pytest.mark.parametrize("block", ALONE, ids=lambda block: block.place)
def test_a_peer_reads_its_configuration(packages: PackagesRoot, folder: Path, block: Block) -> None:
    path = folder / "peer.conf"
    path.write_text(placed(block.text, folder, ports_of(block.text)))
    check = "-N1" if block.language == "rsyslog" else "--syntax-only"
    done = subprocess.run(
        [*peer_command(packages, block.language, path), check],
        env=packages.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_recipes_are_found() -> None:
    assert len(PAIRS) >= 6
