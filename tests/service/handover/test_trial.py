"""A trial runs in a process of its own, as a relay has it run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay import __version__
from relay.service.handover.arrival import TRIAL_VARIABLE
from relay.service.handover.document import Document, SocketEntry, write_document
from relay.transport.held_sockets import socket_name
from tests.queue_files import append, opened, put
from tests.relay_process import toml_text

DESTINATIONS = {"file": {"connect": "file:///dev/null"}}


def tried(folder: Path, document: Document | None = None, **sources: str) -> tuple[int, Any]:
    """Exit status and answer of a trial with sources that listen at these URLs."""
    tables = {
        "relay": {"state_dir": str(folder / "state"), "allow_volatile_state": True},
        "sources": {id: {"listen": url} for id, url in sources.items()},
        "destinations": DESTINATIONS,
    }
    (folder / "r.toml").write_text(toml_text(tables))
    descriptors = [write_document(document or Document())]
    descriptors += map(int, document.descriptors if document is not None else ())
    done = subprocess.run(
        [sys.executable, "-m", "relay.service.handover.trial", "--config", folder / "r.toml"],
        capture_output=True,
        pass_fds=descriptors,
        env={**os.environ, TRIAL_VARIABLE: str(descriptors[0])},
        timeout=60,
    )
    os.close(descriptors[0])
    assert done.stderr == b""
    return done.returncode, json.loads(done.stdout)


def test_it_names_its_version_and_leaves_nothing(tmp_path: Path) -> None:
    status, answer = tried(tmp_path, unix=f"unix://{tmp_path}/s", udp="udp://127.0.0.1:0")
    assert (status, answer) == (
        0,
        {"version": __version__, "state_dir": str(tmp_path / "state")},
    )
    assert os.listdir(tmp_path) == ["r.toml"]


def test_addresses_of_the_running_relay_are_not_tried_others_are(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as ours,
        socket.create_server(("127.0.0.1", 0)) as theirs,
    ):
        urls = [f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in (ours, theirs)]
        name = socket_name("stream", urls[0].removeprefix("tcp://"))
        in_use = Document(sockets=(SocketEntry(name, 0),))
        assert tried(tmp_path, in_use, a=urls[0])[0] == 0
        status, answer = tried(tmp_path, in_use, a=urls[0], b=urls[1])
    assert status == 1
    assert answer["problems"] == [f"source b: cannot listen on {urls[1]}: Address already in use"]


def test_sockets_of_units_are_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        document = Document(descriptors={str(passed.fileno()): "held inherited a"})
        assert tried(tmp_path, document, unit="systemd://a")[0] == 0
        status, answer = tried(tmp_path, document, unit="systemd://b")
    assert (status, "only a (number" in answer["problems"][0]) == (1, True)


@pytest.mark.parametrize("url", ["nonsense://x", "tls://127.0.0.1:0"])
def test_a_bad_configuration_is_refused_with_its_problems(tmp_path: Path, url: str) -> None:
    status, answer = tried(tmp_path, a=url)
    assert status == 1 and "sources.a" in answer["problems"][0]


def test_a_queue_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    queue = tmp_path / "state" / "queue"
    with opened(queue) as store:
        append(store, a=[b"1"])
    for format in (b"1", b"2", b"2"):  # so that both snapshots have it
        put(queue, "meta", b"format", format)
        put(queue, "meta", b"other", format + b"x")
    status, answer = tried(tmp_path, a="udp://127.0.0.1:0")
    assert status == 1 and "has format '2', of a newer version" in answer["problems"][0]
