from __future__ import annotations

import json
from collections import Counter
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.model.output import SizeLimit
from relay.model.token import Token
from relay.rewrite.drops import Drops
from relay.rewrite.forms.form import form_of, token_program
from relay.rewrite.forms.sized import Sized
from relay.rewrite.forms.token import app_name, cee, tag
from relay.wire.parse import parse, read_lines

SECRET = b"01234567-89ab-cdef-0123-456789abcdef"
OWN = b"99999999-8888-7777-6666-555555555555"
TOKEN = Token(SECRET)
ORIGIN = Origin("in", Transport.UDP, "192.0.2.1", 40000, received_at=1.0)
START = b"<13>1 2003-10-11T22:14:15Z h app 7 - - "
LIMIT = 1000


class Setup:
    """Forms with a limit of 1,000 bytes, and what they tell."""

    def __init__(self, policy: str, writer: Any = cee) -> None:
        self.drops = Drops()
        self.told: list[str] = []
        mode = {cee: "cee", tag: "tag", app_name: "app-name"}[writer]
        self.form = Sized(
            form_of(
                writer(TOKEN, UTC, relay_name=b"vm"),
                token_program(mode, TOKEN, UTC, relay_name=b"vm"),
            ),
            SizeLimit(LIMIT, policy, "the plan"),
            drops=self.drops,
            on_long=self.told.append,
        )

    def send(self, *lines: bytes) -> list[bytes]:
        self.forget()
        arrival = Arrival.of_one(len(lines), ORIGIN)
        by_lines = list(self.form.write(read_lines(lines), None, arrival))
        told, dropped, changed = self.told.copy(), self.drops.copy(), self.form.changed.copy()
        self.forget()
        messages: list[SyslogMessage] = [parse(line) for line in lines]
        assert self.form.write_messages(messages, ORIGIN) == by_lines
        assert (self.told, self.drops, self.form.changed) == (told, dropped, changed)
        return by_lines

    def forget(self) -> None:
        self.told.clear()
        self.drops.clear()
        self.form.changed.clear()


def object_in(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload.partition(b"@cee: ")[2])
    return found


@pytest.mark.parametrize("policy", ["truncate", "drop", "split"])
def test_what_fits_stays(policy: str) -> None:
    setup = Setup(policy)
    lines = [START + b"x" * size for size in (1, 700, 800, 0)]
    payloads = setup.send(*lines)
    assert [object_in(payload)["message"] for payload in payloads] == [
        "x" * size for size in (1, 700, 800, 0)
    ]
    assert (setup.told, setup.drops, setup.form.changed) == ([], Counter(), Counter())


def test_drop() -> None:
    setup = Setup("drop")
    payloads = setup.send(START + b"1", START + b"x" * 2000, START + b"3")
    assert [object_in(payload)["message"] for payload in payloads] == ["1", "3"]
    assert setup.drops == {"too-long": 1}


def test_truncate_leaves_as_much_as_there_is_room_for() -> None:
    setup = Setup("truncate")
    first, long, last = setup.send(START + b"1", START + b'"' + b"x" * 2000, START + b"3")
    assert len(long) == LIMIT
    assert object_in(long)["message"].startswith('"xxxx')
    assert object_in(long)["logsene-app-token"] == SECRET.decode()
    assert [object_in(payload)["message"] for payload in (first, last)] == ["1", "3"]
    assert setup.told == [
        "1 message truncated: longer than 1,000 bytes, the limit of the plan",
    ]
    assert setup.form.changed == {"truncated": 1}


@pytest.mark.parametrize("writer", [cee, tag, app_name])
@pytest.mark.parametrize("character", ["ő", "🐘", '"', "\\", "\x01"])
def test_characters_and_escapes_stay_whole(writer: Any, character: str) -> None:
    (payload,) = Setup("truncate", writer).send(START + character.encode() * 3000)
    assert LIMIT - 6 <= len(payload) <= LIMIT
    payload.decode()
    if writer is cee:
        assert set(object_in(payload)["message"]) == {character}


def test_split_loses_nothing() -> None:
    setup = Setup("split")
    text = b" ".join(b"word-%d" % number for number in range(500))
    payloads = setup.send(START + text)
    assert all(len(payload) <= LIMIT for payload in payloads)
    assert all(
        payload.startswith(b"<13>2003-10-11T22:14:15Z h app[7]:@cee: ") for payload in payloads
    )
    assert "".join(object_in(payload)["message"] for payload in payloads).encode() == text
    assert setup.form.changed == {"split": 1}


@given(st.text(min_size=400, max_size=900, alphabet=st.sampled_from('a "\\\n\x01őő🐘')))
def test_split_and_joined_it_is_the_same(text: str) -> None:
    text = f"x{text}x"
    payloads = Setup("split").send(START + text.encode())
    assert all(len(payload) <= LIMIT for payload in payloads)
    assert "".join(object_in(payload)["message"] for payload in payloads) == text


def test_an_object_loses_its_longest_text_only_and_keeps_its_token() -> None:
    own = b'{"logsene-app-token":"%s","a":[1,"{"],"message":"%s","z":1e400}'
    (payload,) = Setup("truncate").send(START + b"@cee: " + own % (OWN, b"y" * 3000))
    assert len(payload) == LIMIT
    before, _, after = payload.partition(b"@cee: ")[2].partition(b"y")
    assert before == b'{"logsene-app-token":"%s","a":[1,"{"],"message":"' % OWN
    assert after.lstrip(b"y") == b'","z":1e400}'


def test_an_object_is_split_at_its_longest_text() -> None:
    text = b'{"id": 5, "message": "%s"}' % (b"0123456789" * 250)
    payloads = Setup("split").send(START + text)
    found = [object_in(payload) for payload in payloads]
    assert "".join(each["message"] for each in found) == "0123456789" * 250
    assert {each["id"] for each in found} == {5}
    assert {each["logsene-app-token"] for each in found} == {SECRET.decode()}


def test_an_object_without_a_long_text_is_cut_as_text_or_dropped_with_its_own_token() -> None:
    numbers = b",".join(b"%d" % number for number in range(1000))
    setup = Setup("truncate")
    (payload,) = setup.send(START + b'{"a": [%s]}' % numbers)
    assert object_in(payload)["message"].startswith('{"a": [0,1,2')
    own = b'{"logsene-app-token": "%s", "a": [%s]}' % (OWN, numbers)
    assert setup.send(START + own) == []
    assert setup.drops == {"too-long": 1}


def test_a_token_does_not_give_way() -> None:
    def sent(count: int) -> list[bytes]:
        numbers = b",".join([b"1"] * count)
        own = b'{"logsene-app-token": "%s", "a": [%s]}' % (OWN, numbers)
        return Setup("truncate").send(START + own)

    # A few bytes less of the token would do for the first that is too long.
    count = next(count for count in range(400, 500) if not sent(count))
    (whole,) = sent(count - 1)
    assert LIMIT - 2 < len(whole) <= LIMIT
    assert OWN in whole


def test_pieces_are_not_made_of_headers() -> None:
    setup = Setup("split")
    others = b'"a": [%s]' % b",".join([b"1"] * 400)
    own = b'{"logsene-app-token": "%s", %s, "message": "%s"}' % (OWN, others, b"x" * 5000)
    assert setup.send(START + own) == []
    assert setup.drops == {"too-long": 1}


def test_many_spaces_are_split_into_few() -> None:
    assert len(Setup("split").send(START + b"x" + b" " * 20_000)) < 30


def test_only_what_is_written_is_looked_at() -> None:
    setup = Setup("truncate")
    lines = [START + b"x" * size for size in (2000, 10, 3000, 20)]
    arrival = Arrival.of_one(len(lines), ORIGIN)
    payloads = setup.form.write(read_lines(lines), [1, 2], arrival)
    assert [len(object_in(payload)["message"]) for payload in payloads] == [
        10,
        LIMIT - (len(payloads[0]) - 10),
    ]
    assert setup.form.changed == {"truncated": 1}
