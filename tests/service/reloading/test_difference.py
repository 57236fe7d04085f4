from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from relay.model.token import Token
from relay.service.configuration.model import (
    AlertsConfiguration,
    AppConfiguration,
    Configuration,
    RewriteConfiguration,
    TlsConfiguration,
    Url,
    WatchConfiguration,
    WebConfiguration,
)
from relay.service.destinations.files import FileAccess
from relay.service.reloading import difference as module
from relay.service.reloading.difference import Change, Ids, changed_keys, difference
from tests.configurations import new_destination, new_source
from tests.written import filter_of

UDP = Url("udp", host="127.0.0.1", port=514)
RELP = Url("relp", host="central", port=20514)

LIVE = {
    *("queue_bytes_max", "reserve_bytes", "min_free_bytes", "local_block_seconds_max"),
    *("pending_bytes_max", "quarantine_bytes_max", "quarantine_seconds_max"),
    *("log_level", "compact_free_percent", "hops_max", "statistics_seconds", "commit_seconds_min"),
    "lineages_max",
}
"""Keys of [relay] that a reload uses; `test_service.py` shows that it does."""


def configuration(**given: Any) -> Configuration:
    return Configuration(
        **{
            "name": "web-1",
            "state_dir": "/state",
            "sources": (new_source("app", UDP), new_source("hub", replace(UDP, port=515))),
            "destinations": (
                new_destination("central", RELP, ("app", "hub")),
                new_destination("file", Url("file", path="/all.log"), ("app",)),
            ),
            **given,
        }
    )


def changed(**given: Any) -> Any:
    return difference(configuration(), configuration(**given))


def with_destination(**keys: Any) -> Any:
    _, file = configuration().destinations
    kept = {"id": "central", "connect": RELP, "sources": ("app", "hub"), **keys}
    return changed(destinations=(new_destination(**kept), file))


def test_equal_configurations_do_not_differ() -> None:
    found = difference(configuration(), configuration(path="/other", warnings=("x",)))
    assert (found.changes, found.restart, found.sources, found.destinations) == (
        (),
        (),
        Ids(),
        Ids(),
    )
    assert not found.rerouted
    assert not found.restarted


def test_sources_that_were_added_removed_and_changed() -> None:
    app = new_source("app", UDP, frame_bytes_max=1000, receive_buffer_bytes=2**20)
    found = changed(sources=(app, new_source("new", replace(UDP, port=516))))
    assert found.sources == Ids(added=("new",), removed=("hub",), changed=("app",))
    assert found.changes == (
        Change("changed", "sources.app", ("frame_bytes_max", "receive_buffer_bytes")),
        Change("added", "sources.new"),
        Change("removed", "sources.hub"),
    )


def test_a_destination_of_all_sources_has_not_changed_because_there_is_one_more() -> None:
    sources = (*configuration().sources, new_source("new", replace(UDP, port=516)))
    central, file = configuration().destinations
    found = changed(
        sources=sources, destinations=(replace(central, sources=("app", "hub", "new")), file)
    )
    assert found.changes == (Change("added", "sources.new"),)
    assert found.wanted.destinations[0].sources == ("app", "hub", "new")
    assert not found.rerouted
    named = changed(sources=sources, destinations=(central, replace(file, sources=("new",))))
    assert Change("changed", "destinations.file", ("sources",)) in named.changes


@pytest.mark.parametrize(
    ("keys", "names", "is_rerouted", "is_restarted"),
    [
        ({"sources": ("app",)}, ("sources",), False, False),
        ({"queue_bytes_max": 2**20, "when_full": "drop-newest"}, None, False, False),
        ({"history": 60.0}, ("history",), False, False),
        ({"match": filter_of({"severity": "err"})}, ("match",), True, False),
        ({"apps": ("shop",)}, ("apps",), True, False),
        ({"final": True}, ("final",), True, False),
        ({"rewrite": RewriteConfiguration("ewmm")}, ("rewrite",), True, False),
        ({"rewrite": RewriteConfiguration("cee", Token(b"x" * 16))}, ("rewrite",), True, True),
        ({"drain_rate": None, "order": "live-first"}, ("order",), True, True),
        ({"retry_seconds_max": 5.0}, ("retry_seconds_max",), True, True),
        ({"window_records": 7}, ("window_records",), True, True),
        ({"connect": replace(RELP, port=20515)}, ("connect",), True, True),
        ({"connect": UDP}, ("connect",), True, True),
    ],
)
def test_what_a_changed_destination_needs(
    keys: dict[str, Any], names: tuple[str, ...] | None, is_rerouted: bool, is_restarted: bool
) -> None:
    found = with_destination(**keys)
    assert found.destinations == Ids(changed=("central",))
    expected = names or tuple(keys)
    assert found.changes == (Change("changed", "destinations.central", expected),)
    assert ("central" in found.rerouted, "central" in found.restarted) == (
        is_rerouted,
        is_restarted,
    )


def test_tokens_of_apps_matter_to_forms_that_write_a_token() -> None:
    central, file = configuration().destinations
    cee = replace(central, rewrite=RewriteConfiguration("cee", Token(b"x" * 16)))
    old = configuration(destinations=(cee, file))
    found = difference(old, replace(old, apps=(AppConfiguration("shop"),)))
    assert found.changes == (Change("added", "apps.shop"),)
    assert found.rerouted == found.restarted == {"central"}


def test_the_order_of_destinations_is_a_change() -> None:
    found = changed(destinations=configuration().destinations[::-1])
    assert found.changes == (Change("changed", "destinations", ("order",)),)


def test_tables_of_the_whole_relay() -> None:
    rules = (WatchConfiguration("logins", "error"), WatchConfiguration("rest", "ignore"))
    found = changed(watch=rules, alerts=AlertsConfiguration(), web=WebConfiguration())
    assert [each.text for each in found.changes] == [
        "watch.logins added",
        "watch.rest added",
        "alerts added",
        "web added",
    ]
    old = configuration(watch=rules, web=WebConfiguration())
    later = replace(
        old,
        watch=(replace(rules[0], per_second_max=5.0),),
        web=replace(WebConfiguration(), token_file="/token"),
    )
    assert [each.text for each in difference(old, later).changes] == [
        "watch.logins changed: per_second_max",
        "watch.rest removed",
        "web changed: token_file",
    ]


def test_keys_of_groups_and_of_tls_are_named_as_the_file_has_them() -> None:
    url = Url("tls", host="127.0.0.1", port=6514)
    old = new_source("in", url, tls=TlsConfiguration(certificate="/a"), connections_max=5)
    new = new_source("in", url, tls=TlsConfiguration(certificate="/b"), connections_max=6)
    assert set(changed_keys(old, new)) == {"certificate", "connections_max"}
    assert changed_keys(old, new_source("in", UDP)) == ("listen",)
    assert changed_keys(FileAccess(), FileAccess(group_name="adm")) == ("group",)


def test_keys_that_need_a_restart_keep_their_value() -> None:
    found = changed(name="web-2", statistics_seconds=5.0, strict_queue=True)
    assert found.restart == ("relay.name", "relay.strict_queue")
    assert (found.wanted.name, found.wanted.strict_queue) == ("web-1", False)
    assert found.wanted.statistics_seconds == 5.0
    assert found.changes == (
        Change("changed", "relay", ("name", "strict_queue", "statistics_seconds")),
    )


@pytest.mark.parametrize(("old", "new", "restart"), [(16, 8, False), (16, 0, True), (0, 4, True)])
def test_whether_a_relay_has_an_id_is_settled_at_the_start(
    old: int, new: int, restart: bool
) -> None:
    found = difference(configuration(hops_max=old), configuration(hops_max=new))
    assert found.restart == (("relay.hops_max",) if restart else ())
    assert found.wanted.hops_max == (old if restart else new)


def test_the_queue_may_not_outgrow_its_map() -> None:
    old, new = configuration(queue_bytes_max=2**20), configuration(queue_bytes_max=2**21)
    assert difference(old, new, queue_bytes_limit=2**21).restart == ()
    assert difference(old, new, queue_bytes_limit=2**20).restart == ("relay.queue_bytes_max",)
    assert difference(new, old, queue_bytes_limit=2**20).restart == ()


def test_local_sources_depend_on_how_long_they_may_block(tmp_path: Path) -> None:
    local = new_source("local", Url("unix", path=str(tmp_path / "socket")))
    old = configuration(sources=(*configuration().sources, local))
    found = difference(old, replace(old, local_block_seconds_max=3.0))
    assert found.sources == Ids(changed=("local",))
    assert found.changes == (Change("changed", "relay", ("local_block_seconds_max",)),)


def test_each_key_of_the_relay_is_used_or_needs_a_restart() -> None:
    of_others = module._OF_THE_WHOLE | module._APART
    names = {each.name for each in fields(Configuration)} - of_others
    assert names - LIVE - module.RESTART == set(), "decide: is it used by a reload?"
    assert set() == LIVE & module.RESTART
