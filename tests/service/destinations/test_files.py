from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from relay.rewrite.forms.record_key import with_key
from relay.service.configuration.file import read_configuration
from relay.service.configuration.keys import groups_of
from relay.service.configuration.model import (
    Examinable,
    Url,
)
from relay.service.destinations import files
from relay.service.destinations.files import FileConfiguration
from relay.service.kinds import KINDS
from relay.transport.files.below import Access
from relay.transport.files.closed_files import Keeping
from relay.transport.files.file_tree import FileOptions
from tests.configurations import new_destination
from tests.connections import fired
from tests.destination_setup import Setup
from tests.recording import record


def test_a_file(setup: Setup, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "received.log"
    service = setup.build(Url("file", path=str(path)))
    service.startService()
    assert service.state_text == f"connecting to {path}"
    for _ in range(3):
        setup.run()
    assert service.state_text == f"appending to {path}, delivered when synced"
    assert path.read_bytes() == b"one\ntwo\n"
    assert setup.queue.upto == 3
    path.rename(path.with_suffix(".1"))
    service.reopen()
    setup.run()
    assert path.read_bytes() == b""
    assert fired(service.stopService()) == [None]


def test_a_file_that_cannot_be_opened_is_known_at_once(setup: Setup, tmp_path: Path) -> None:
    service = setup.build(Url("file", path=str(tmp_path)))
    service.startService()
    setup.run()
    assert service.state_text.startswith(f"{tmp_path}: Is a directory, next try in ")
    assert service.lanes[0].state.connects == 0


def test_a_session_that_writes_a_file_is_told_all_it_needs(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = record(monkeypatch, files, "FileSession")
    service = setup.build(Url("file", path=str(tmp_path / "log")))
    service.startService()
    for _ in range(3):
        setup.run()
    keywords = made[0].keywords
    keywords.pop("on_reopened")("it was removed")
    assert setup.notices.said == [("destination out", "reopened", "it was removed")]
    for name in ("run_in_thread", "on_failure", "on_look"):
        assert callable(keywords.pop(name))
    assert keywords == {"drain": service.lanes[0].drain, "clock": setup.reactor}


def test_a_record_that_was_queued_for_a_kind_with_keys_is_written_without_its_key(
    setup: Setup, tmp_path: Path
) -> None:
    setup.queue.read = lambda destination, **_: [b"\0KEY web\0one", b"two"]
    service = setup.build(Url("file", path=str(tmp_path / "log")))
    service.startService()
    for _ in range(3):
        setup.run()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    assert fired(service.stopService()) == [None]


KEYS: dict[str, Any] = {
    "owner": "root",
    "group": "1234",
    "mode": 0o604,
    "directory_mode": 0o705,
    "rotate_bytes": 5,
    "rotate_seconds": 60.0,
    "compress": "gzip",
    "keep_seconds": 3600.0,
    "keep_bytes": 7,
    "keep_files": 8,
    "files_open_max": 16,
    "files_new_per_peer_max": 9,
}


def test_every_key_is_heeded(setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = {
        name: record(monkeypatch, files, name) for name in ("MadeFiles", "ClosedFiles", "FileTree")
    }
    setup.build(Url("file", path=f"{tmp_path}/logs/${{HOST}}.log"), **KEYS)
    root = str(tmp_path / "logs")
    (tree,), (closed,), (names,) = made["FileTree"], made["ClosedFiles"], made["MadeFiles"]
    assert tree.arguments == (
        FileOptions(
            root=root,
            overflow="_overflow-out.log",
            access=Access(owner=0, group=1234, mode=0o604, directory_mode=0o705),
            files_open_max=16,
            files_new_per_peer_max=9,
            rotate_bytes=5,
            rotate_seconds=60.0,
        ),
    )
    assert (names.arguments, names.keywords) == ((root, "out"), {"is_kept": True})
    assert closed.keywords["keeping"] == Keeping(seconds=3600.0, size=7, files=8)
    assert (closed.keywords["compress"], closed.keywords["kept_always"]) == ("gzip", "")
    say = closed.keywords["say"]
    say("keep", "cannot remove it")
    setup.run()
    assert setup.notices.said == [("destination out", "keep", "cannot remove it")]


def test_a_path_without_macros_has_one_file_and_no_list(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trees = record(monkeypatch, files, "FileTree")
    lists = record(monkeypatch, files, "MadeFiles")
    setup.build(Url("file", path=f"{tmp_path}/a$$b"))
    options = trees[0].arguments[0]
    assert (options.root, options.only) == (str(tmp_path), "a$b")
    assert lists[0].keywords == {"is_kept": False}
    setup.build(Url("file", path="/a"))
    assert (trees[1].arguments[0].root, trees[1].arguments[0].only) == ("/", "a")


def test_files_of_two_hosts_and_what_status_says(setup: Setup, tmp_path: Path) -> None:
    keyed = [with_key(b"10.0.0.1 a", b"one"), with_key(b"10.0.0.1 b", b"two")]
    setup.queue.read = lambda destination, **_: keyed
    service = setup.build(
        Url("file", path=f"{tmp_path}/logs/${{HOST}}"), files_new_per_peer_max=1, keep_bytes=9
    )
    service.startService()
    for _ in range(3):
        setup.run()
    assert (tmp_path / "logs" / "a").read_bytes() == b"one\n"
    overflow = tmp_path / "logs" / "_overflow-out.log"
    assert overflow.read_bytes() == b"two\n"
    assert setup.queue.upto == 3
    assert service.status.details() == [
        "2 files open, 2 made since the start",
        f"1 message went to {overflow}; the log says why",
        "removed 0 old files",
    ]
    assert fired(service.stopService()) == [None]


def test_files_are_not_closed_while_a_thread_may_write_to_them(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = record(monkeypatch, files, "FileSession")
    service = setup.build(Url("file", path=f"{tmp_path}/logs/${{HOST}}"))
    service.startService()
    for _ in range(3):
        setup.run()
    (file,) = made[0].arguments
    file.append([with_key(b"10.0.0.1 a", b"one")])
    of_another_lane = made[0].keywords["run_in_thread"](lambda: None)
    file.close()
    assert service.status.details() == ["1 file open, 1 made since the start"]
    setup.run()
    assert fired(of_another_lane) == [None]
    assert service.status.details() == ["0 files open, 1 made since the start"]


def test_every_ten_seconds_files_are_closed_compressed_and_removed(
    setup: Setup, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    service = setup.build(
        Url("file", path=str(path)), rotate_seconds=60.0, compress="gzip", keep_files=5
    )
    service.startService()
    for _ in range(3):
        setup.run()
    assert path.read_bytes() == b"one\ntwo\n"
    for _ in range(130):
        setup.reactor.advance(1)
        setup.run()
    (compressed,) = tmp_path.glob("log.*.gz")
    assert gzip.decompress(compressed.read_bytes()) == b"one\ntwo\n"
    assert fired(service.stopService()) == [None]


def test_trouble_with_tidying_is_a_warning(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = setup.build(Url("file", path=f"{tmp_path}/logs/log"), rotate_bytes=5)
    service.startService()
    for _ in range(3):
        setup.run()

    def fail(self: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.FileTree, "tidy", fail)
    for _ in range(3):
        setup.reactor.advance(1)
        setup.run()
    message = f"{tmp_path}/logs: cannot tidy up: [Errno 5] Input/output error"
    assert setup.notices.said == [("destination out", "tidy", message)]
    assert fired(service.stopService()) == [None]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"owner": "no-such-user"}, "owner: there is no user 'no-such-user'; make it, or write"),
        ({"group": "no-such-group"}, "group: there is no group 'no-such-group'; make it, or"),
        ({"compress": "zstd"}, "compress: is for closed files, and none is ever closed; write"),
        ({"keep_seconds": 3599.0}, "keep_seconds: expected 0, or at least 3,600 seconds"),
        ({"keep_files": 1}, "keep_files: is for closed files, and none is ever closed; write"),
    ],
)
def test_keys_that_cannot_work(keys: dict[str, Any], problem: str) -> None:
    configuration = new_destination("out", Url("file", path="/srv/$HOST"), ("in",), **keys)
    found = [
        text
        for each in (configuration, *groups_of(configuration))
        if isinstance(each, Examinable)
        for text in each.problems(lambda key: key, [*keys])
    ]
    assert [text[: len(problem)] for text in found] == [problem]


def test_warnings_do_not_need_the_group_to_exist() -> None:
    keys = {"group": "no-such-group"}
    configuration = new_destination("out", Url("file", path="/srv/$HOST"), ("in",), **keys)
    assert isinstance(configuration, FileConfiguration)
    assert all("group" not in each for each in configuration.warnings(lambda key: key))


@pytest.mark.parametrize(
    ("path", "keys", "unit"),
    [
        ("/srv/$R_YEAR-$R_MONTH.log", {"compress": "zstd"}, "month"),
        ("/srv/$R_YEAR-$R_MONTH.log", {}, ""),
        ("/srv/$HOST.log", {"compress": "zstd", "rotate_bytes": 1000}, ""),
        ("/srv/out.log", {"compress": "zstd", "rotate_bytes": 1000}, ""),
    ],
)
def test_files_with_dates_in_their_names_are_closed_to_be_compressed(
    path: str, keys: dict[str, Any], unit: str
) -> None:
    configuration = new_destination("out", Url("file", path=path), ("in",), **keys)
    assert isinstance(configuration, FileConfiguration)
    assert configuration.options.unit == unit
    assert not [*configuration.problems(lambda key: key, [*keys])]


def test_a_macro_that_does_not_exist_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text(
        f"""
[relay]
state_dir = "{tmp_path}/state"
[sources.in]
listen = "udp://127.0.0.1:5514"
[destinations.out]
connect = "file://{tmp_path}/${{HOTS}}/$SOURCEIP.log"
"""
    )
    warnings = read_configuration(str(tmp_path / "relay.toml"), KINDS).warnings
    assert [text for text in warnings if "macro" in text] == [
        "destinations.out.connect: there is no macro HOTS, did you mean 'HOST'? it is empty unless "
        "messages bring a pair of this name"
    ]
    assert not os.path.exists(tmp_path / "state")
