from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli.control_client import AskFailed
from relay.cli.queue.access import opened, records, stamp, text_of
from relay.cli.where import Where
from relay.queue.inspect.queries import Account
from relay.service.destinations.commands import SomeDestination
from tests import queue_files


@pytest.fixture
def where(tmp_path: Path) -> Where:
    """A state directory whose relay is stopped, with 2,500 records for a."""
    with queue_files.opened(tmp_path / "queue", "a") as store:
        queue_files.append(store, a=[b"%d" % number for number in range(1, 2501)])
    return Where(str(tmp_path))


def test_a_stopped_relays_queue_is_read_from_its_files(where: Where) -> None:
    with opened(where) as access:
        assert not access.live
        (account,) = access.ask("queue-accounts", list[Account])
        assert (account.id, account.queued) == ("a", 2500)
        with pytest.raises(AskFailed, match="only a running relay can do that"):
            access.ask("pause", type(None), SomeDestination("a"))


@pytest.mark.parametrize(
    ("start", "stop", "first", "last"),
    [(0, None, 1, 2500), (2000, None, 2000, 2500), (10, 20, 10, 19), (999, 1002, 999, 1001)],
)
def test_pages_are_put_together(
    where: Where, start: int, stop: int | None, first: int, last: int
) -> None:
    with opened(where) as access:
        found = list(records(access, "a", start=start, stop=stop))
    assert [record.seq for record in found] == list(range(first, last + 1))


def test_where_nothing_is_both_are_said(tmp_path: Path) -> None:
    where = Where(str(tmp_path))
    text = r"no relay is running.*and there is no queue"
    with pytest.raises(AskFailed, match=text), opened(where):
        pass


def test_the_file_is_free_again_afterwards(where: Where) -> None:
    for _ in range(2):
        with opened(where):
            pass
    with queue_files.opened(Path(where.queue_path), "a"):
        pass


def test_times_are_utc() -> None:
    assert stamp(1790892855.0039) == "2026-10-01T22:14:15.003Z"
    assert stamp(0) == "1970-01-01T00:00:00.000Z"


def test_a_payload_is_one_line_that_cannot_harm_a_terminal() -> None:
    shown = text_of("<13>a\tb\n\x1b[31m\x9b\u202e grün ".encode() + b"\xff", [])
    assert shown == r"<13>a\tb\n\x1b[31m\x9b\u202e grün \xff"
    assert text_of(b"the key is secret-of-ours-123", [b"secret-of-ours-123"]).endswith("secr…-123")


@given(st.binary())
def test_any_payload_is_printable(payload: bytes) -> None:
    assert text_of(payload, []).isprintable()
