from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.model.errors import QueueError
from relay.model.origin import Origin, Transport
from relay.model.token import Token
from relay.rewrite.steps.pipeline import Pipeline
from relay.service.configuration.model import (
    Configuration,
    RewriteConfiguration,
    UnreadToken,
    Url,
)
from relay.service.routes.late_tokens import LateTokens, TokenWatch
from relay.service.routes.lookup_file import LookupFile
from relay.service.routes.rewriting import Rewriting
from relay.wire.parse import parse_all
from tests.configurations import new_destination
from tests.connections import RecordingNotices
from tests.lines import write, write_frames
from tests.written import choice

ORIGIN = Origin("in", Transport.UDP, "192.0.2.1", received_at=1e9)
FRAME = b"<13>1 2026-10-11T22:14:15Z host app 7 - - text"
OWN = b'<13>1 2026-10-11T22:14:15Z host app 7 - - {"logsene-app-token": "own"}'


def route(rewrite: RewriteConfiguration) -> tuple[Any, LateTokens]:
    rewriting = Rewriting(
        Configuration("relay", "/var"), zone=UTC, now=lambda: 0.0, lookup=LookupFile
    )
    made = rewriting.route(new_destination("out", Url("relp"), ("in",), rewrite=rewrite))
    return made, rewriting.tokens["out"]


def written(made: Any, *frames: bytes) -> list[bytes]:
    assert isinstance(made.rewrite, Pipeline)
    return write_frames(made.rewrite, frames, ORIGIN)


def unread(path: Path) -> UnreadToken:
    return UnreadToken("cannot read it", file=str(path))


@pytest.mark.parametrize("secret", [b"abcd-1234", b'with"quote\\'])
@pytest.mark.parametrize("mode", ["cee", "tag", "app-name"])
def test_what_is_sent_is_what_a_known_token_would_have_made(
    tmp_path: Path, mode: str, secret: bytes
) -> None:
    path = tmp_path / "token"
    known, _ = route(RewriteConfiguration(mode, Token(secret)))
    late, tokens = route(RewriteConfiguration(mode, unread(path)))
    queued = written(late, FRAME, OWN)
    assert queued[0].startswith(b"\0TOKEN - ")
    assert tokens.needed.state == "cannot read it; its messages are queued until there is a token"
    tokens.look()
    assert tokens.needed.trouble == (
        f"cannot read the token file {path}: No such file or directory"
    )
    path.write_bytes(secret + b"\n")
    begun: list[bool] = []
    tokens.needed.when_fulfilled(lambda: begun.append(True))
    tokens.needed.look()
    assert (begun, tokens.needed.trouble) == ([True], "")
    assert tokens.fill(queued) == written(known, FRAME, OWN)
    assert written(late, FRAME, OWN) == written(known, FRAME, OWN)
    tokens.look()
    assert begun == [True]


def test_messages_that_steps_have_changed_have_slots_as_well(tmp_path: Path) -> None:
    known, _ = route(RewriteConfiguration("cee", Token(b"abcd")))
    late, tokens = route(RewriteConfiguration("cee", unread(tmp_path / "token")))
    (queued,) = write(late.rewrite, parse_all([FRAME]), ORIGIN)
    assert queued.startswith(b"\0TOKEN - ")
    (tmp_path / "token").write_bytes(b"abcd")
    tokens.look()
    assert [*tokens.fill([queued])] == write(known.rewrite, parse_all([FRAME]), ORIGIN)
    assert tokens.form.write_messages(parse_all([FRAME]), ORIGIN) == written(known, FRAME)
    assert written(late, FRAME) == written(known, FRAME)


def test_one_of_several_tokens_is_missing(tmp_path: Path) -> None:
    """Each message gets its own, also when the list has another order by then."""
    mail, kernel = {"facility": "mail"}, choice({"facility": "kern"}, Token(b"kernel"))
    rewrite = RewriteConfiguration(
        "tag",
        Token(b"others"),
        tokens=(choice(mail, unread(tmp_path / "mail")), kernel),
    )
    late, tokens = route(rewrite)
    queued = written(late, b"<16>h a: mail", b"<0>h a: kernel", b"<13>h a: other")
    assert [payload[:1] for payload in queued] == [b"\0", b"<", b"<"]
    swapped = replace(rewrite, tokens=(kernel, choice(mail, Token(b"mailed"))))
    _, later = route(swapped)
    assert [b"mailed:" in payload for payload in later.fill(queued)] == [True, False, False]
    _, without = route(replace(rewrite, tokens=(kernel,)))
    with pytest.raises(QueueError, match=r"rewrite\.tokens no longer has"):
        without.fill(queued)
    assert tokens.needed.trouble


def test_a_token_file_of_another_name_after_a_restart_will_do(tmp_path: Path) -> None:
    late, _ = route(RewriteConfiguration("tag", unread(tmp_path / "tokne")))
    _, later = route(RewriteConfiguration("tag", Token(b"abcd")))
    (payload,) = later.fill(written(late, FRAME))
    assert b" abcd:" in payload


def test_a_form_without_a_token_sends_none(tmp_path: Path) -> None:
    late, _ = route(RewriteConfiguration("tag", unread(tmp_path / "token")))
    _, none = route(RewriteConfiguration())
    (payload,) = none.fill(written(late, FRAME))
    assert payload.startswith(b"<13>2026-10-11T22:14:15")
    assert none.needed.trouble == ""


def test_a_missing_variable_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THE_TOKEN", raising=False)
    _, tokens = route(RewriteConfiguration("tag", UnreadToken("", variable="THE_TOKEN")))
    tokens.look()
    assert tokens.needed.trouble == "the environment variable THE_TOKEN is not set; set it"


def test_the_watch_looks_each_minute_and_warns_each_hour(tmp_path: Path) -> None:
    _, tokens = route(RewriteConfiguration("tag", unread(tmp_path / "token")))
    clock, notices = Clock(), RecordingNotices()
    watch = TokenWatch(tokens={"out": tokens}, notices=notices, clock=clock)  # type: ignore[arg-type]
    watch.startService()
    for _ in range(61):
        clock.advance(60)
    assert [said[:2] for said in notices.said] == [("destination out", "token")] * 2
    (tmp_path / "token").write_text("abcd")
    clock.advance(59)
    assert tokens.needed.trouble
    clock.advance(1)
    assert not tokens.needed.trouble
    watch.stopService()
    assert clock.getDelayedCalls() == []
