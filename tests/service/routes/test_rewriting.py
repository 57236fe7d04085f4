from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC
from typing import Any

import pytest

from relay.codec import IS_COMPILED
from relay.flow.routing import Route
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.model.output import KeyTemplate, Pair, Selection
from relay.model.token import Token
from relay.rewrite.conditions import holds
from relay.rewrite.forms import form as form_module
from relay.rewrite.steps import pipeline
from relay.service.configuration.model import (
    AppConfiguration,
    Configuration,
    DestinationConfiguration,
    FormatConfiguration,
    RewriteConfiguration,
    Url,
)
from relay.service.routes.rewriting import Rewriting, token_form
from relay.wire.parse import parse, parse_all, read_lines
from tests.configurations import new_destination
from tests.lines import write, write_frames
from tests.written import choice, filter_of, steps_of

TOKEN = Token(b"01234567-89ab-cdef-0123-456789abcdef")
ORIGIN = Origin("in", Transport.UNIX, received_at=1_800_000_000.0)
LEGACY = parse(b"<11>Oct 11 22:14:15 web su[230]: hello")
MODERN = parse(b"<165>1 2003-10-11T22:14:15.003Z db app 7 ID1 - hi")


class Table(dict[bytes, tuple[bytes, ...]]):
    columns = ("value",)


class Maker:
    def __init__(self) -> None:
        self.warnings: list[tuple[str, str, str]] = []
        app = AppConfiguration("shop", tokens=(Token(b"shop-token"),))
        self.rewriting = Rewriting(
            Configuration("web-1", "/var", apps=(app,)),
            zone=UTC,
            now=lambda: 0.0,
            lookup=lambda path, columns: Table({b"web": (path.encode(),)}),
            warn=lambda *what: self.warnings.append(what),
        )

    def route(self, **keys: Any) -> Route:
        url = Url("relp", host="central", port=20514)
        return self.rewriting.route(new_destination("d", url, ("in",), **keys))


def sent(messages: list[SyslogMessage], **keys: Any) -> list[bytes]:
    maker = Maker()
    route = maker.route(**keys)
    assert maker.rewriting.problems == []
    assert route.rewrite is not None
    return write(route.rewrite, messages, ORIGIN)


def test_frames_pass_as_they_are_unless_somebody_says_otherwise() -> None:
    assert Maker().route() == Route("d", None, carries_hops=True, has_hops=True)  # by RELP
    assert Maker().route(format=FormatConfiguration("raw")).rewrite is None
    assert Maker().route().rewrite is None


@pytest.mark.parametrize(
    ("mode", "mark"),
    [
        ("cee", b'@cee: {"logsene-app-token": "01234567-89ab-cdef-0123-456789abcdef"'),
        ("tag", b"01234567-89ab-cdef-0123-456789abcdef:"),
        ("app-name", b" 01234567-89ab-cdef-0123-456789abcdef "),
        ("ewmm", b"@syslog-ng"),
    ],
)
def test_each_mode_has_its_form_and_its_host(mode: str, mark: bytes) -> None:
    rewrite = RewriteConfiguration(mode, None if mode == "ewmm" else TOKEN)
    (payload,) = sent(parse_all([b"<13>su: hello"]), rewrite=rewrite)
    assert mark in payload
    assert b"web-1" in payload
    assert b"hello" in payload


def test_a_token_has_to_fit_its_place() -> None:
    with pytest.raises(ValueError, match="cannot contain a colon"):
        token_form("tag", Token(b"a:b"), relay_name=b"-", zone=UTC)


def test_formats_are_used_with_their_options() -> None:
    form = FormatConfiguration("template", template="$PROGRAM on $HOST: $MSG")
    assert sent([LEGACY, MODERN], format=form) == [b"su on web: hello", b"app on db: hi"]
    form = FormatConfiguration("rfc5424", frac_digits=0)
    assert sent([MODERN], format=form) == [b"<165>1 2003-10-11T22:14:15+00:00 db app 7 ID1 - hi"]


def test_changed_messages_keep_the_format_in_which_they_came() -> None:
    rewrite = RewriteConfiguration(steps=steps_of({"set": {"HOST": "x", "PROGRAM": "$HOST"}}))
    legacy, modern = sent([LEGACY, MODERN], rewrite=rewrite)
    assert (parse(legacy).version, parse(legacy).hostname, parse(legacy).app_name) == (
        *(0, b"x"),
        b"web",
    )
    assert modern == b"<165>1 2003-10-11T22:14:15.003Z x db 7 ID1 - hi"


def test_structured_data_needs_a_place() -> None:
    rewrite = RewriteConfiguration(steps=steps_of({"number": True}))
    (payload,) = sent([LEGACY], rewrite=rewrite)
    assert payload.startswith(b"<11>1 ")
    assert b'[meta sequenceId="1"][syslogrelay@32473 from="web-1/d"] hello' in payload


def test_steps_come_before_the_form_and_may_use_tables() -> None:
    steps = steps_of({"map": "teams.csv", "key": "$HOST", "into": "PROGRAM"})
    (payload,) = sent([LEGACY], rewrite=RewriteConfiguration("ewmm", steps=steps))
    assert b'"PROGRAM":"/etc/teams.csv"' in payload


def test_what_a_step_drops_is_told_and_rates_are_warned_of() -> None:
    maker = Maker()
    steps = steps_of({"drop": "noise", "match": {"filter": "errors"}}, {"rate": 1})
    route = maker.route(rewrite=RewriteConfiguration(steps=steps))
    assert maker.rewriting.problems == []
    assert route.rewrite is not None
    assert route.take_drops is not None
    assert len(write(route.rewrite, [LEGACY, MODERN, MODERN, MODERN], ORIGIN)) == 1
    assert route.take_drops() == {"noise": 1, "rate-limit": 2}
    assert maker.warnings == [("d", "rate-limit", "2 messages dropped by its rewrite: rate-limit")]
    assert route.take_drops() == {}


def test_a_cast_that_fails_can_drop_the_message() -> None:
    maker = Maker()
    selection = Selection(pairs=(Pair("n", "$PID", "int"),), on_error="drop-message")
    form = FormatConfiguration("json", selection=selection)
    route = maker.route(format=form)
    assert route.rewrite is not None
    assert route.take_drops is not None
    odd = MODERN._replace(procid=b"x")
    assert write(route.rewrite, [MODERN, odd], ORIGIN) == [b'{"n":7}']
    assert route.take_drops() == {"type-cast": 1}
    assert [kind for _, kind, _ in maker.warnings] == ["cast", "type-cast"]


def test_match_and_apps_both_have_to_fit() -> None:
    route = Maker().route(match=filter_of({"filter": "errors"}), apps=("shop",))
    assert route.match is not None
    shop = LEGACY._replace(app="shop")
    assert [
        m for m in (LEGACY, shop, MODERN._replace(app="shop")) if holds(route.match, m, ORIGIN)
    ] == [shop]


def test_each_message_gets_the_token_that_its_filter_names() -> None:
    mail, other = Token(b"mail-token-0123456789"), Token(b"other-token-0123456789")
    rewrite = RewriteConfiguration("tag", other, tokens=(choice({"hostname": "web"}, mail),))
    first, second = sent([LEGACY, MODERN], rewrite=rewrite)
    assert b" mail-token-0123456789:" in first
    assert b" other-token-0123456789:" in second


def test_all_that_is_wrong_is_said_with_its_place() -> None:
    maker = Maker()
    steps = steps_of({"set": {"PRI": "1"}}, {"unset": "PID"}, {"unset": ["DATE"]})
    maker.route(rewrite=RewriteConfiguration("tag", TOKEN, steps=steps))
    places = [problem.partition(": ")[0] for problem in maker.rewriting.problems]
    assert places == ["destinations.d.rewrite[0].set", "destinations.d.rewrite[2].unset"]


FORMS = [
    {"rewrite": RewriteConfiguration("cee", TOKEN)},
    {"rewrite": RewriteConfiguration("tag", TOKEN)},
    {"rewrite": RewriteConfiguration("app-name", TOKEN)},
    {"rewrite": RewriteConfiguration("cee", TOKEN, tokens=(choice({"severity": "..err"}, TOKEN),))},
    {"rewrite": RewriteConfiguration("ewmm")},
    {"format": FormatConfiguration("rfc5424")},
    {"format": FormatConfiguration("rfc3164")},
    {"format": FormatConfiguration("rfc3164", ts_format="iso")},
]
EDITS = steps_of(
    {"set": {"PROGRAM": "$$app", "MSG": "new"}, "match": {"severity": "..err"}},
    {"unset": ["PID"]},
    {"add_tags": ["x"], "match": [{"app_name": "$app"}, {"filter": "errors"}]},
)
FORMS += [
    {"rewrite": RewriteConfiguration("cee", TOKEN, steps=EDITS)},
    {"rewrite": RewriteConfiguration("ewmm", steps=EDITS)},
    {"rewrite": RewriteConfiguration(steps=EDITS)},
]
ORDINARY = [
    b"<11>Oct 11 22:14:15 web su[230]: hello",
    b"<165>1 2003-10-11T22:14:15.003Z db app 7 ID1 - hi",
    b"<13>Oct 11 22:14:15 su: hello",
]


@pytest.mark.skipif(not IS_COMPILED, reason="the package was installed without a C compiler")
@pytest.mark.parametrize("keys", FORMS)
def test_forms_without_options_of_their_own_are_written_by_compiled_code(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any]
) -> None:
    expected = sent(parse_all(ORDINARY), **keys)
    route = Maker().route(**keys)
    assert route.rewrite is not None
    lines = read_lines(ORDINARY)
    asked: list[object] = []
    for module in (form_module, pipeline):
        monkeypatch.setattr(module, "messages_of_each", lambda *arguments: asked.append(arguments))
    arrival = Arrival.of_one(len(lines), ORIGIN)
    assert route.rewrite.write(lines, None, arrival) == expected
    assert asked == []


@pytest.mark.parametrize("mode", ["cee", "tag", "app-name"])
def test_a_message_keeps_the_token_of_an_app_in_its_header(mode: str) -> None:
    tokens = (choice({"facility": "mail"}, Token(b"mail-token")),)
    for rewrite in (RewriteConfiguration(mode, TOKEN), RewriteConfiguration(mode, TOKEN, tokens)):
        for own in [b"shop-token"] + [token.reveal() for token in rewrite.known_tokens[1:]]:
            line = b"<13>1 2003-10-11T22:14:15Z h %s - - - hello" % own
            (payload,) = sent([parse(line)], rewrite=rewrite)
            assert own in payload
            assert TOKEN.reveal() not in payload


def test_the_tokens_of_apps_are_known_where_lines_are_written_too() -> None:
    route = Maker().route(rewrite=RewriteConfiguration("cee", TOKEN))
    assert route.rewrite is not None
    frames = [b"<13>1 2003-10-11T22:14:15Z h %s - - - hi" % name for name in (b"a", b"shop-token")]
    payloads = write_frames(route.rewrite, frames, ORIGIN)
    assert [TOKEN.reveal() in payload for payload in payloads] == [True, False]
    assert b'"logsene-app-token": "shop-token"' in payloads[1]


def test_cee_has_structured_data_where_that_is_asked_for() -> None:
    rewrite = RewriteConfiguration("cee", TOKEN, structured_data=True)
    message = parse(b'<13>1 2003-10-11T22:14:15Z h a - ID1 [x@1 b="c"] hi')
    (payload,) = sent([message], rewrite=rewrite)
    assert b'"msgid": "ID1", "_SDATA":{"x@1":{"b":"c"}}, ' in payload
    (payload,) = sent(
        [message], rewrite=replace(rewrite, tokens=(choice({"sources": "in"}, TOKEN),))
    )
    assert b'"_SDATA"' in payload
    frames = [message.raw]
    route = Maker().route(rewrite=rewrite)
    assert route.rewrite is not None
    assert b'"_SDATA":{"x@1"' in write_frames(route.rewrite, frames, ORIGIN)[0]


@dataclass(frozen=True, slots=True)
class KeyedConfiguration(DestinationConfiguration):
    @property
    def record_key(self) -> KeyTemplate:
        return KeyTemplate("$HOST", escape=bytes, finish=bytes)


@pytest.mark.parametrize(
    ("keys", "payload"),
    [
        ({}, LEGACY.raw),
        ({"format": FormatConfiguration("raw")}, LEGACY.raw),
        ({"format": FormatConfiguration("template", "$MSG")}, b"hello"),
        ({"format": FormatConfiguration("rfc3164")}, LEGACY.raw),
        ({"format": FormatConfiguration("json")}, b'{"HOST":"web"'),
        ({"rewrite": RewriteConfiguration("ewmm")}, b"<11>1 2026-10-11T22:14:15"),
        ({"rewrite": RewriteConfiguration("tag", TOKEN)}, b"<11>2026-10-11T22:14:15"),
        ({"rewrite": RewriteConfiguration(steps=steps_of({"set": {"HOST": "web"}}))}, LEGACY.raw),
    ],
)
def test_every_form_has_the_keys_that_its_destination_needs(
    keys: dict[str, Any], payload: bytes
) -> None:
    plain = new_destination("d", Url("relp", host="central", port=20514), ("in",), **keys)
    values = {each.name: getattr(plain, each.name) for each in fields(DestinationConfiguration)}
    route = Maker().rewriting.route(KeyedConfiguration(**values))
    assert route.rewrite is not None
    (record,) = write(route.rewrite, [LEGACY], ORIGIN)
    assert record.startswith(b"\0KEY web\0" + payload)


def test_a_message_that_json_drops_is_counted_with_keys_too() -> None:
    form = FormatConfiguration(
        "json", selection=Selection(pairs=(Pair("n", "x", "int"),), on_error="drop-message")
    )
    plain = new_destination("d", Url("relp", host="h", port=1), ("in",), format=form)
    values = {each.name: getattr(plain, each.name) for each in fields(DestinationConfiguration)}
    route = Maker().rewriting.route(KeyedConfiguration(**values))
    assert route.rewrite is not None and route.take_drops is not None
    assert write(route.rewrite, [LEGACY], ORIGIN) == []
    assert route.take_drops() == {"type-cast": 1}
