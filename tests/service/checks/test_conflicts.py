from __future__ import annotations

from dataclasses import replace

import pytest

from relay.service.checks.conflicts import control_socket_problems, find_conflicts
from relay.service.configuration.model import Url
from relay.service.configuration.url import id_from_url
from relay.service.kinds import KINDS
from relay.transport.files import file_names
from tests.configurations import new_destination, new_source


def conflicts(sources: dict[str, str], destinations: dict[str, tuple[str, str]]) -> list[str]:
    """Sources are id: URL, destinations are id: (URL, ids of its sources)."""
    found = find_conflicts(
        [new_source(id, KINDS.url(url, "listen", base_dir="/")) for id, url in sources.items()],
        [
            new_destination(id, KINDS.url(url, "connect", base_dir="/"), sources=tuple(ids.split()))
            for id, (url, ids) in destinations.items()
        ],
        KINDS,
        name_source=lambda id: f"sources.{id}.listen",
        name_destination=lambda id: f"destinations.{id}.connect",
    )
    return list(found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://127.0.0.1:514", "tcp://127.0.0.1:514"),
        ("tcp://127.0.0.1:514", "relp://127.0.0.1:514"),
        ("tcp://:514", "relp+tls://[::1]:514"),
        ("udp://0.0.0.0:514", "udp://10.0.0.1:514"),
        ("udp://[::]:514", "udp://[::1]:514"),
        ("tcp://localhost:514", "tcp://LOCALHOST:514"),
        ("unix:///run/log", "unixgram:///run/../run/log"),
    ],
)
def test_two_listeners_in_one_place(one: str, other: str) -> None:
    a, b = (KINDS.url(text, "listen", base_dir="/") for text in (one, other))
    for first, second in ((a, b), (b, a)):
        assert conflicts({"a": str(first), "b": str(second)}, {"d": ("relp://far:1", "a b")}) == [
            f"sources.b.listen: {second} is already taken by sources.a.listen ({first}); choose "
            "another one"
        ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://127.0.0.1:514", "udp://127.0.0.1:514"),
        ("tcp://127.0.0.1:514", "tcp://127.0.0.1:515"),
        ("tcp://127.0.0.1:514", "tcp://127.0.0.2:514"),
        ("tcp://0.0.0.0:514", "tcp://[::1]:514"),
        ("tcp://0.0.0.0:514", "tcp://some.name:514"),
        ("tcp://:0", "tcp://:0"),
        ("unix:///run/a", "unix:///run/b"),
        ("journald://", "journald://"),  # with other matches
        ("journald:///var/log/journal", "journald:///var/log/journal"),
    ],
)
def test_listeners_that_get_along(one: str, other: str) -> None:
    assert conflicts({"a": one, "b": other}, {"d": ("relp://far:1", "a b")}) == []


def test_many_sources_are_not_all_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def note(one: Url, other: Url, kinds: object) -> bool:
        compared.append(f"{one} {other}")
        return False

    monkeypatch.setattr("relay.service.checks.conflicts._same_place", note)
    many = {f"s{port}": f"udp://127.0.0.1:{port}" for port in range(1, 500)}
    many |= {f"u{number}": f"unixgram:/run/{number}" for number in range(500)}
    many["t"] = "tcp://127.0.0.1:7"
    assert conflicts(many, {"d": ("relp://far:1", " ".join(many))}) == []
    assert compared == ["udp://127.0.0.1:7 tcp://127.0.0.1:7"]


def test_many_files_are_not_all_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def note(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return meets(one, other)

    meets = file_names._meets.__wrapped__
    monkeypatch.setattr(file_names, "_meets", note)
    many = {f"d{number}": (f"file:///var/log/{number}/all.log", "s") for number in range(1500)}
    many |= {f"m{number}": (f"file:///srv/$HOST/{number}.log", "s") for number in range(1498)}
    many |= {"same": ("file:///var/log/7/all.log", "s"), "near": ("file:///srv/a/7.log", "s")}
    found = conflicts({"s": "udp://:1"}, many)
    assert [line.partition(";")[0] for line in found] == [
        "destinations.same.connect: file:///var/log/7/all.log is already written by "
        "destinations.d7.connect",
        "destinations.near.connect: file:///srv/a/7.log may name the same files as "
        "file:///srv/$HOST/7.log of destinations.m7.connect",
    ]
    assert len(compared) < 20_000  # of 4.5 million pairs


def test_paths_behind_a_port_belong_to_another_host() -> None:
    urls = [Url("relp", host=host, port=443, path="/in") for host in ("a", "b")]
    assert [str(url) for url in urls] == ["relp://a:443/in", "relp://b:443/in"]
    pair = [new_destination(url.host, url) for url in urls]
    assert not list(find_conflicts([], pair, KINDS, name_source=str, name_destination=str))
    ids = [id_from_url(replace(urls[0], path=path)) for path in ("", "/in", "/out")]
    assert len(set(ids)) == 3 and ids[0] == "relp-a-443"


def test_two_destinations_do_not_write_files_of_the_same_names() -> None:
    sources = {"a": "udp://:1"}
    destinations = {"one": ("file:///x/$HOST.log", "a"), "two": ("file:///x/${PROGRAM}.log", "a")}
    assert conflicts(sources, destinations) == [
        "destinations.two.connect: file:///x/${PROGRAM}.log may name the same files as "
        "file:///x/$HOST.log of destinations.one.connect; put a word into one of them that the "
        "other has not"
    ]
    destinations["two"] = ("file:///x/${PROGRAM}.txt", "a")
    assert conflicts(sources, destinations) == []


def test_one_file_for_two_destinations() -> None:
    destinations = {"one": ("file:///x", "a"), "two": ("file:///y/../x", "a")}
    assert conflicts({"a": "udp://:1"}, destinations) == [
        "destinations.two.connect: file:///x is already written by destinations.one.connect; "
        "choose another file"
    ]


def test_a_source_that_feeds_nothing() -> None:
    assert conflicts({"a": "udp://:1", "b": "udp://:2"}, {"d": ("relp://far:1", "a")}) == [
        "sources.b.listen: feeds no destination, so its messages would be lost; add 'b' to the "
        "sources of one"
    ]


@pytest.mark.parametrize(
    ("listen", "connect"),
    [
        ("tcp://:514", "tcp://127.0.0.1:514"),
        ("tcp://:514", "tcp://[::1]:514"),
        ("tcp://127.0.0.1:514", "relp://localhost:514"),
        ("tcp://localhost:514", "tcp://127.0.0.1:514"),
        ("tcp://0.0.0.0:514", "tcp://127.1.2.3:514"),
        ("tcp://0.0.0.0:514", "tcp://localhost:514"),
        ("tcp://0.0.0.0:514", "tcp://0.0.0.0:514"),
        ("tcp://10.0.0.1:514", "tcp://10.0.0.1:514"),
        ("udp://:514", "udp://127.0.0.1:514"),
    ],
)
def test_a_loop(listen: str, connect: str) -> None:
    assert conflicts({"a": listen}, {"d": (connect, "a")}) == [
        f"destinations.d.connect: {connect} is this relay itself and messages would go round for "
        "ever (source 'a' feeds 'd'); give the sources of 'd' without 'a'"
    ]


@pytest.mark.parametrize(
    ("listen", "connect"),
    [
        ("tcp://:514", "tcp://127.0.0.1:515"),
        ("tcp://:514", "udp://127.0.0.1:514"),
        ("tcp://:514", "tcp://elsewhere:514"),
        ("tcp://10.0.0.1:514", "tcp://127.0.0.1:514"),
        ("tcp://[::1]:514", "tcp://127.0.0.1:514"),
    ],
)
def test_no_loop(listen: str, connect: str) -> None:
    assert conflicts({"a": listen}, {"d": (connect, "a")}) == []


def test_the_relay_may_deliver_to_itself_if_nothing_comes_back() -> None:
    sources = {"udp": "udp://:5514", "received": "relp://127.0.0.1:20514"}
    destinations = {
        "central": ("relp://127.0.0.1:20514", "udp"),
        "file": ("file:///received.log", "received"),
    }
    assert conflicts(sources, destinations) == []


def test_a_loop_through_two_destinations_is_reported_once() -> None:
    sources = {"a": "tcp://:1", "b": "tcp://:2", "in": "udp://:3"}
    destinations = {"x": ("tcp://localhost:1", "b in"), "y": ("tcp://localhost:2", "a")}
    assert conflicts(sources, destinations) == [
        "destinations.x.connect: tcp://localhost:1 is this relay itself and messages would go "
        "round for ever (source 'a' feeds 'y', source 'b' feeds 'x'); give the sources of 'x' "
        "without 'b'"
    ]


@pytest.mark.parametrize(("length", "problems"), [(94, 0), (95, 1)])
def test_the_control_socket_has_to_fit(length: int, problems: int) -> None:
    found = control_socket_problems("relay.state_dir", "/".ljust(length, "x"))
    assert len(found) == problems
    assert all("relay.state_dir" in line and "94" in line for line in found)


def test_a_source_may_not_read_what_its_destination_writes() -> None:
    sources = {"files": "file:///var/log/*/*.log"}
    assert conflicts(sources, {"d": ("file:///var/log/app/out.log", "files")}) == [
        "destinations.d.connect: file:///var/log/app/out.log is read by this relay and messages "
        "would go round for ever (source 'files' feeds 'd'); give the sources of 'd' without "
        "'files'"
    ]
    assert conflicts(sources, {"d": ("file:///var/log/out.log", "files")}) == []


def test_a_file_may_be_read_for_another_destination() -> None:
    sources = {"in": "udp://:514", "files": "file:///var/log/out.*"}
    destinations = {"written": ("file:///var/log/out.log", "in"), "d": ("relp://far:1", "files")}
    assert conflicts(sources, destinations) == []
