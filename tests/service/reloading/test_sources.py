"""Sources that stay, change, come and go."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from relay.queue.admission.backpressure import Admission
from relay.service.refusal import StartRefused
from relay.service.sources.service import ListeningSource
from tests.assembled_relay import reached
from tests.certificate_files import make_certificate_files
from tests.processes import free_port
from tests.reloading_relay import ReloadingRelay, tables

pytestmark = pytest.mark.usefixtures("relays_end")


def started(folder: Path, **others: Any) -> ReloadingRelay:
    relay = ReloadingRelay(folder, tables(folder, **others))
    relay.start()
    return relay


def services(relay: ReloadingRelay) -> dict[str, Any]:
    *_, sources, _, _ = relay.service
    return {each.id: each for each in sources}


def with_app(folder: Path, **keys: Any) -> dict[str, Any]:
    return tables(folder, sources={"app": {"listen": f"unixgram:{folder}/app", **keys}})


def test_a_source_that_has_not_changed_stays(tmp_path: Path) -> None:
    relay = started(tmp_path)
    before = services(relay)
    relay.reload(tables(tmp_path, destinations={"new": {"connect": f"file:{tmp_path}/new.log"}}))
    assert services(relay) == before
    relay.send("system", b"<13>system: one")
    assert relay.lines("new.log", 1) == [b"<13>system: one"]
    relay.stop()


def test_a_source_is_added_and_seen_everywhere(tmp_path: Path) -> None:
    relay = started(tmp_path, web={"listen": "http://127.0.0.1:0"})
    assert sorted(relay.ask("peers")) == ["app", "system"]
    relay.reload(
        tables(
            tmp_path,
            web={"listen": "http://127.0.0.1:0"},
            sources={"new": {"listen": f"unixgram:{tmp_path}/new"}},
        )
    )
    relay.send("new", b"<11>new: one")
    relay.lines("all.log", 1)
    assert relay.report("sources", "new")["received_records"] == 1
    assert relay.ask("peers", source="new")["new"]["count"] == 1
    assert "new" in relay.ask("samples")
    relay.reactor.advance(1)
    assert relay.service_named("rates").totals["messages"] == 1
    pages = relay.service_named("web")._factory._pages
    live = pages["/events"].open.__self__._event.__self__.document()
    assert [each["id"] for each in live["sources"]] == ["app", "system", "new"]
    assert live["senders"]["top"][0]["source"] == "new"
    relay.stop()


def test_a_source_is_removed_with_its_socket_and_what_it_has_taken_is_stored(
    tmp_path: Path,
) -> None:
    relay = started(tmp_path)
    relay.send("system", b"<13>system: the last one")
    without = tables(tmp_path)
    del without["sources"]["system"]
    assert relay.reload(without)["failures"] == []
    assert list(services(relay)) == ["app"]
    assert not (tmp_path / "system").exists()
    assert relay.lines("all.log", 1) == [b"<13>system: the last one"]
    assert [each["id"] for each in relay.ask("status")["sources"]] == ["app"]
    relay.stop()


def test_a_source_that_comes_back_goes_on_counting(tmp_path: Path) -> None:
    relay = started(tmp_path)
    without = tables(tmp_path)
    del without["sources"]["system"]
    for count in (1, 2):
        relay.send("system", b"<13>system: one")
        relay.lines("all.log", count)
        assert relay.report("sources", "system")["received_records"] == count
        relay.reload(without)
        relay.reload(tables(tmp_path))
    assert relay.report("sources", "system")["received_records"] == 2
    relay.stop()


def test_a_changed_source_keeps_its_socket_with_what_waits_in_it(tmp_path: Path) -> None:
    relay = started(tmp_path)
    relay.send("app", b"<13>app: one")
    relay.lines("all.log", 1)
    inode = (tmp_path / "app").stat().st_ino
    relay.send("app", b"<13>app: waits")
    answer = relay.reload(with_app(tmp_path, frame_bytes_max=500))
    assert answer["changes"] == [
        {"what": "changed", "table": "sources.app", "keys": ["frame_bytes_max"]}
    ]
    assert (tmp_path / "app").stat().st_ino == inode
    relay.send("app", b"<13>app: " + b"x" * 600)
    *_, last = relay.lines("all.log", 3)
    assert len(last) == 500
    assert relay.report("sources", "app")["received_records"] == 3
    assert relay.ask("status")["orphans"] == []
    relay.stop()


def test_keys_of_a_source_are_used(tmp_path: Path) -> None:
    relay = started(tmp_path)
    relay.reload(with_app(tmp_path, oversize="drop", frame_bytes_max=500))
    relay.send("app", b"<13>a: " + b"x" * 600)
    relay.send("app", b"<13>a: short")
    assert relay.lines("own.log", 1) == [b"<13>a: short"]
    assert relay.report("sources", "app")["dropped_records"] == {"too-long": 1}
    relay.stop()


def test_a_new_address_is_bound_before_the_old_one_is_left(tmp_path: Path) -> None:
    relay = started(tmp_path)
    relay.reload(tables(tmp_path, sources={"app": {"listen": f"unixgram:{tmp_path}/moved"}}))
    assert not (tmp_path / "app").exists()
    relay.send("moved", b"<13>app: one")
    assert relay.lines("own.log", 1) == [b"<13>app: one"]
    relay.stop()


def test_a_source_that_cannot_bind_goes_on_as_it_was_and_nothing_else_breaks(
    tmp_path: Path,
) -> None:
    relay = started(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        moved = {"app": {"listen": f"tcp://127.0.0.1:{port}"}}
        configured = tables(tmp_path, sources=moved, relay={"statistics_seconds": 7})
        answer = relay.reload(configured)
        (failure,) = answer["failures"]
        assert failure.startswith(f"source app: cannot listen on tcp://127.0.0.1:{port}: Address")
        status = relay.ask("status")
        assert status["reload"]["failures"] == [failure]
        assert f"reload: {failure}" in status["degraded"]
        relay.send("app", b"<13>app: one")
        assert relay.lines("own.log", 1) == [b"<13>app: one"]
        assert relay.reload()["failures"] == [failure]  # it tries again
    assert relay.reload()["failures"] == []
    assert relay.report("sources", "app")["address"] == f"tcp://127.0.0.1:{port}"
    assert relay.ask("status")["reload"]["failures"] == []
    relay.stop()


def udp_tables(folder: Path, **ports: int) -> dict[str, Any]:
    """The tables with a UDP source for each id."""
    urls = {id: f"udp://127.0.0.1:{port}" for id, port in ports.items()}
    return tables(folder, sources={id: {"listen": url} for id, url in urls.items()})


def to_port(port: int, text: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), ("127.0.0.1", port))


def test_sources_that_change_together_keep_what_waits_in_their_sockets(tmp_path: Path) -> None:
    before = udp_tables(tmp_path, one=(one := free_port()), two=(two := free_port()))
    relay = ReloadingRelay(tmp_path, before)
    relay.start()
    after = udp_tables(tmp_path, one=one, two=two)
    for id in ("one", "two"):
        after["sources"][id]["frame_bytes_max"] = 900
    to_port(one, "<13>a: waits at one")
    to_port(two, "<13>a: waits at two")
    assert relay.reload(after)["failures"] == []
    assert sorted(relay.lines("all.log", 2)) == [b"<13>a: waits at one", b"<13>a: waits at two"]
    relay.stop()


def test_sources_exchange_their_addresses(tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    relay = ReloadingRelay(tmp_path, udp_tables(tmp_path, a=one, b=two))
    relay.start()
    to_port(one, "<13>a: waits")
    assert relay.reload(udp_tables(tmp_path, a=two, b=one))["failures"] == []
    assert relay.report("sources", "a")["address"] == f"udp://127.0.0.1:{two}"
    relay.until(lambda: relay.report("sources", "b")["received_records"] == 1)
    relay.stop()


def test_an_address_goes_to_a_source_with_another_id_with_what_waits_there(tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    relay = ReloadingRelay(tmp_path, udp_tables(tmp_path, before=one))
    relay.start()
    to_port(one, "<13>a: waits")
    assert relay.reload(udp_tables(tmp_path, after=one))["failures"] == []
    relay.until(lambda: relay.report("sources", "after")["received_records"] == 1)
    to_port(one, "<13>a: waits")
    # The one that has it moves away, and another one comes.
    assert relay.reload(udp_tables(tmp_path, after=two, new=one))["failures"] == []
    relay.until(lambda: relay.report("sources", "new")["received_records"] == 1)
    relay.stop()


def test_a_taken_address_is_not_put_down_to_the_relay_itself(tmp_path: Path) -> None:
    relay = started(tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        (failure,) = relay.reload(udp_tables(tmp_path, new=port))["failures"]
    url = f"udp://127.0.0.1:{port}"
    assert failure == f"source new: cannot listen on {url}: Address already in use"
    relay.stop()


def test_a_source_that_cannot_go_back_is_added_by_the_next_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = started(tmp_path)

    def refuse(source: ListeningSource) -> None:
        raise StartRefused(f"source {source.id}: cannot listen: not today")

    with monkeypatch.context() as patch:
        patch.setattr(ListeningSource, "privilegedStartService", refuse)
        (failure,) = relay.reload(with_app(tmp_path, frame_bytes_max=500))["failures"]
    assert "the one before does not start again" in failure
    assert list(services(relay)) == ["system"]
    # As it was at first, so nothing would have changed.
    answer = relay.reload(tables(tmp_path))
    assert answer["changes"] == [{"what": "added", "table": "sources.app", "keys": []}]
    relay.send("app", b"<13>app: one")
    assert relay.lines("own.log", 1) == [b"<13>app: one"]
    relay.stop()


def test_certificates_are_watched_for_a_source_that_has_gone_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_certificate_files(tmp_path / "files")
    keys = {"certificate": files.server_certificate, "private_key": files.server_key}

    def with_tls(**more: int) -> dict[str, Any]:
        listen = {"listen": "tls://127.0.0.1:0", "peer_verify": "none", **keys}
        return tables(tmp_path, sources={"tls": {**listen, **more}})

    relay = ReloadingRelay(tmp_path, with_tls())
    relay.start()
    starts = iter([StartRefused("not today")])
    whole = ListeningSource.startService

    def start(source: ListeningSource) -> None:
        for refusal in starts:
            raise refusal
        whole(source)

    monkeypatch.setattr(ListeningSource, "startService", start)
    (failure,) = relay.reload(with_tls(frame_bytes_max=900))["failures"]
    assert failure == "source tls: not today"
    (watched,) = relay.service_named("certificates")._watched
    assert services(relay)["tls"]._prerequisite is watched.needed
    relay.stop()


def test_an_added_source_that_cannot_bind_is_left_out(tmp_path: Path) -> None:
    relay = started(tmp_path)
    (tmp_path / "new").write_text("a file")
    more = {"new": {"listen": f"unixgram:{tmp_path}/new"}}
    (failure,) = relay.reload(tables(tmp_path, sources=more))["failures"]
    assert failure.startswith("source new: cannot listen on unixgram:")
    assert list(services(relay)) == ["app", "system"]
    (tmp_path / "new").unlink()
    assert relay.reload()["failures"] == []
    assert list(services(relay)) == ["app", "system", "new"]
    relay.stop()


def test_a_changed_app_is_known_to_sources_that_stay(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("0123456789abcdef0123\n")
    (tmp_path / "two").write_text("fedcba98765432100123\n")
    app = {"app": {"listen": f"unixgram:{tmp_path}/app", "authorise": ["token"]}}
    relay = started(tmp_path, sources=app, apps={"shop": {"token_file": f"{tmp_path}/one"}})
    before = services(relay)["app"]
    with_token = b"<13>1 - host fedcba98765432100123 - - - text"
    relay.send("app", with_token)
    relay.until(lambda: relay.report("sources", "app")["dropped_records"])
    other = {"shop": {"token_file": f"{tmp_path}/two"}}
    answer = relay.reload(tables(tmp_path, sources=app, apps=other))
    assert answer["changes"] == [{"what": "changed", "table": "apps.shop", "keys": ["tokens"]}]
    assert services(relay)["app"] is before
    relay.send("app", with_token)
    relay.until(lambda: relay.report("sources", "app")["apps"] == {"shop": 1})
    relay.stop()


def test_certificates_of_a_source_are_those_of_the_file(tmp_path: Path) -> None:
    files = [make_certificate_files(tmp_path / name) for name in ("one", "two")]

    def with_tls(which: int) -> dict[str, Any]:
        keys = {
            "certificate": files[which].server_certificate,
            "private_key": files[which].server_key,
            "trusted_ca": files[which].ca,
        }
        return tables(tmp_path, sources={"tls": {"listen": "tls://127.0.0.1:0", **keys}})

    relay = ReloadingRelay(tmp_path, with_tls(0))
    relay.start()
    answer = relay.reload(with_tls(1))
    (change,) = answer["changes"]
    assert set(change["keys"]) == {"certificate", "private_key", "trusted_ca"}
    found = relay.ask("status")["certificates"]
    assert [each["certificate"] for each in found] == [files[1].server_certificate]
    wrong = with_tls(1)
    wrong["sources"]["tls"]["certificate"] = f"{tmp_path}/none.pem"
    before = services(relay)["tls"]
    (problem,) = relay.reload(wrong)["problems"]
    assert "none.pem" in problem
    assert services(relay)["tls"] is before
    relay.reload(tables(tmp_path))
    assert relay.ask("status")["certificates"] == []
    relay.stop()


def test_sources_that_have_ended_are_told_of_nothing(tmp_path: Path) -> None:
    relay = started(tmp_path)
    (admission,) = {
        id(each): each for _, each in reached(relay.service) if isinstance(each, Admission)
    }.values()
    before = len(admission._queue._listeners)
    more = {"new": {"listen": f"unixgram:{tmp_path}/new"}}
    for size in (500, 600):
        relay.reload(tables(tmp_path, sources=more))
        relay.reload(with_app(tmp_path, frame_bytes_max=size))
        unable = {"new": {"listen": f"unixgram:{tmp_path}/{'x' * 200}"}}
        relay.reload(tables(tmp_path, sources=unable))
    relay.reload(tables(tmp_path))
    assert len(admission._queue._listeners) == before
    relay.stop()
