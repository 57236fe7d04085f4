from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from relay.service.configuration.model import RewriteConfiguration, UnreadToken, Url
from relay.service.web.search import MATCHES_MAX
from tests.configurations import new_destination
from tests.service.web.test_pages import Client

pytestmark = pytest.mark.usefixtures("relays_end")

TOKEN = "12345678-9abc-4def-8123-456789abcdef"


class Searched:
    """A relay with a paused destination, and what lies in its queue."""

    def __init__(self, folder: Path, payloads: list[bytes], **keywords: Any) -> None:
        self.client = Client(folder, **keywords)
        self.client.relay.ask("pause", destination="all")
        encoded = [base64.b64encode(payload).decode() for payload in payloads]
        for start in range(0, len(encoded), 5000):
            self.client.relay.ask(
                "queue-append", destination="all", payloads=encoded[start : start + 5000]
            )

    def ask(self, **parameters: object) -> tuple[int, Any]:
        given = {"in": "queue", "of": "all", "text": "", **parameters}
        return self.client.get(f"/search?{urlencode(given)}")

    def find(self, text: str, **parameters: object) -> list[str]:
        """The texts of all matches."""
        found: list[str] = []
        start = 0
        while start is not None:
            status, answer = self.ask(text=text, start=start, **parameters)
            assert status == 200
            assert len(answer["matches"]) <= MATCHES_MAX
            found += [match["text"] for match in answer["matches"]]
            start = answer["next"]
        return found


def test_messages_are_found_whatever_the_case(tmp_path: Path) -> None:
    searched = Searched(tmp_path, [b"<13>one Apple", b"<13>two", "<13>Größe".encode()])
    assert searched.find("apple") == ["<13>one Apple"]
    assert searched.find("GRÖSSE") == ["<13>Größe"]
    assert len(searched.find("")) == 3
    assert searched.find("pear") == []


def test_all_of_a_long_queue_is_found_in_bounded_answers(tmp_path: Path) -> None:
    payloads = [b"<13>number %d" % number for number in range(2500)]
    searched = Searched(tmp_path, payloads)
    assert searched.find("number") == [payload.decode() for payload in payloads]
    assert searched.find("number 24") == [
        f"<13>number {n}" for n in (24, *range(240, 250), *range(2400, 2500))
    ]


def test_what_is_shown_is_harmless(tmp_path: Path) -> None:
    searched = Searched(tmp_path, [b"<13>\x1b[31m<script>alert(1)</script>\n\xff"])
    assert searched.find("<script>") == ["<13>\\x1b[31m<script>alert(1)</script>\\n\\xff"]


def test_a_token_cannot_be_found_by_its_parts(tmp_path: Path) -> None:
    message = b'<13>host app:@cee: {"logsene-app-token": "%b", "message": "x"}' % TOKEN.encode()
    searched = Searched(tmp_path, [message])
    assert searched.find(TOKEN[10:20]) == []
    (shown,) = searched.find("message")
    assert TOKEN not in shown and "1234…cdef" in shown


def test_a_long_message_is_cut(tmp_path: Path) -> None:
    (shown,) = Searched(tmp_path, [b"<13>" + b"x" * 9000 + b" end"]).find("end")
    assert len(shown) == 2000 and shown.endswith("…")


@pytest.mark.parametrize(
    "parameters",
    [
        {"in": "elsewhere"},
        {"text": "x" * 201},
        {"start": "-1"},
        {"start": "9" * 30},
        {"start": "²"},
    ],
)
def test_parameters_that_do_not_fit_are_refused(tmp_path: Path, parameters: Any) -> None:
    assert Searched(tmp_path, []).ask(**parameters)[0] == 400


def test_an_unknown_queue_is_an_error_and_the_next_search_works(tmp_path: Path) -> None:
    searched = Searched(tmp_path, [b"<13>x"])
    for _ in range(5):
        status, text = searched.ask(of="nope")
        assert (status, "there is no queue 'nope'" in text) == (409, True)
    assert searched.find("x") == ["<13>x"]


def test_few_search_at_a_time(tmp_path: Path) -> None:
    searched = Searched(tmp_path, [b"<13>x"])
    path = "/search?in=queue&of=all"
    wires = [searched.client.connect(path) for _ in range(3)]
    assert wires[2].value().startswith(b"HTTP/1.1 503 ")
    while not (wires[0].value() and wires[1].value()):
        searched.client.relay.reactor.run_next()
    assert searched.find("x") == ["<13>x"]


def test_a_quarantine_without_entries_is_unknown(tmp_path: Path) -> None:
    status, text = Searched(tmp_path, []).ask(**{"in": "quarantine", "of": "nope"})
    assert (status, "there is no quarantine 'nope'" in text) == (409, True)


def test_a_token_that_is_known_late_is_masked(tmp_path: Path) -> None:
    token = tmp_path / "token"
    late = RewriteConfiguration("cee", UnreadToken("it is not there", file=str(token)))
    url = Url("file", path=str(tmp_path / "all.log"))
    destinations = (new_destination("all", url, ("app",), rewrite=late),)
    searched = Searched(tmp_path, [b"<13>with a-token-that-comes-late"], destinations=destinations)
    token.write_text("a-token-that-comes-late")
    token.chmod(0o600)
    searched.client.relay.service.getServiceNamed("tokens").look()
    assert searched.find("with") == ["<13>with a-to…late"]
    assert searched.find("comes") == []


def test_a_token_that_is_not_known_yet_is_masked(tmp_path: Path) -> None:
    searched = Searched(tmp_path, [b"\0TOKEN - 8\n<13>app=: hello"])
    assert searched.find("hello") == ["<13>app=****: hello"]
