from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.http.answers import (
    DELIVERED,
    REASON_CHARACTERS_MAX,
    Answer,
    Fate,
    Read,
    Verdict,
    is_failure,
    read_any,
    read_bulk,
    read_splunk_hec,
    verdicts_of,
)

UNKNOWN_TOKEN = "Application not found for token 1234"


def bulk_answer(*items: Any) -> Answer:
    return Answer(200, {}, json.dumps({"took": 1, "errors": True, "items": items}).encode())


def item(status: int, kind: str = "", reason: str = "", action: str = "index") -> Any:
    error = {"error": {"type": kind, "reason": reason}} if kind else {}
    return {action: {"_id": "e-1", "status": status, **error}}


def verdict(answer: Answer, read: Read = read_bulk, records: int = 1) -> Verdict:
    """The one that all records share."""
    (shared,) = set(verdicts_of(answer, records, read))
    return shared


@pytest.mark.parametrize(
    ("kind", "status", "is_of_index"),
    [
        ("unavailable_shards_exception", 503, True),
        ("cluster_block_exception", 403, True),
        ("null_pointer_exception", 500, False),
        ("es_rejected_execution_exception", 429, False),
    ],
)
def test_an_index_that_takes_nothing(kind: str, status: int, is_of_index: bool) -> None:
    found = verdict(bulk_answer(item(status, kind, "not now")))
    assert (found.fate, found.is_of_index) == (Fate.RETRY, is_of_index)
    assert is_failure(found) == (status >= 500 or is_of_index)


def test_each_document_has_its_own_verdict() -> None:
    items = [
        item(201),
        item(200),
        item(429, "es_rejected_execution_exception", "queue full"),
        item(400, "mapper_parsing_exception", "failed to parse [n]"),
        item(503),
        item(409, "version_conflict_engine_exception", "exists", "create"),
        item(409, "version_conflict_engine_exception", "exists"),
        item(403, "cluster_block_exception", "index read-only"),
        item(403, "security_exception", "no permissions"),
        item(400, "x", UNKNOWN_TOKEN),
    ]
    fates = [each.fate.value for each in verdicts_of(bulk_answer(*items), len(items), read_bulk)]
    assert fates == [
        *("delivered", "delivered", "retry", "refused", "retry"),
        *("delivered", "refused", "retry", "hold", "hold"),
    ]


@pytest.mark.parametrize("text", [UNKNOWN_TOKEN, "daily limit"])
def test_a_document_that_the_server_quotes_holds_nothing(text: str) -> None:
    reason = f"failed to parse field [n] of type [long]. Preview of field's value: '{text}'"
    found = verdict(bulk_answer(item(400, "document_parsing_exception", reason)))
    assert (found.fate, found.cause) == (Fate.REFUSED, "item 400")


def test_a_refusal_says_why_on_one_bounded_line() -> None:
    error = {"type": "a", "reason": "b\x1b[2J", "caused_by": {"reason": "c\n" * 1000}}
    found = verdict(bulk_answer({"index": {"status": 400, "error": error}}))
    assert found.fate is Fate.REFUSED
    assert found.reason.startswith("400 a: b\\x1b[2J (c\\nc\\n")
    assert len(found.reason) <= REASON_CHARACTERS_MAX + 4


def test_an_answer_of_another_number_of_items_decides_nothing() -> None:
    found = verdict(bulk_answer(item(201)), records=2)
    assert found == Verdict(Fate.RETRY, "number of items", "broken answer: 1 items for 2 documents")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"items":{}}', b'{"items":[', b'{"items":[{}]}', b'{"items":[7]}']
    + [b'{"items":[{"index":%b}]}' % text for text in (b"{}", b'{"status":"201"}', b"[]")]
    + [b'{"items":[{"index":{"status":true}}]}', b"[" * 100_000],
)
def test_a_broken_answer_is_asked_for_again(body: bytes) -> None:
    found = verdict(Answer(200, {}, body))
    assert (found.fate, found.cause) == (Fate.RETRY, "JSON")
    assert found.reason.startswith("broken answer: ")


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        *((200, Fate.DELIVERED), (204, Fate.DELIVERED), (408, Fate.RETRY), (429, Fate.RETRY)),
        *((500, Fate.RETRY), (503, Fate.RETRY), (507, Fate.RETRY), (413, Fate.SPLIT)),
        *((400, Fate.SPLIT), (422, Fate.SPLIT), (401, Fate.HOLD), (403, Fate.HOLD)),
        *((404, Fate.HOLD), (405, Fate.HOLD), (301, Fate.HOLD), (304, Fate.HOLD)),
    ],
)
def test_a_status_is_for_all_records(status: int, fate: Fate) -> None:
    found = verdict(Answer(status, {}, b'{"error":"why"}'), read_any, 2)
    assert found.fate is fate
    assert found is DELIVERED or found.reason.startswith(str(status))


@pytest.mark.parametrize("status", [400, 413])
def test_a_single_record_is_at_fault_itself(status: int) -> None:
    found = verdict(Answer(status, {}, b'{"error":{"reason":"why"}}'))
    assert found == Verdict(Fate.REFUSED, f"status {status}", f"{status} why")


@pytest.mark.parametrize("status", [200, 400, 403, 404, 500])
def test_an_account_that_is_unknown_or_full_holds_everything(status: int) -> None:
    limit = Answer(status, {"x-logsene-error": "daily limit reached"}, b"")
    found = verdict(limit, records=2)
    assert (found.fate, found.cause, found.until_midnight) == (Fate.HOLD, "limit", True)
    if 400 <= status < 500:
        found = verdict(Answer(status, {}, UNKNOWN_TOKEN.encode()), records=2)
        assert found == Verdict(Fate.HOLD, "unknown token", UNKNOWN_TOKEN)


@pytest.mark.parametrize("words", [UNKNOWN_TOKEN, "Daily limit reached"])
@pytest.mark.parametrize(
    ("form", "is_held"),
    [
        ('{"error":{"type":"app_error","reason":"%s"},"status":400}', True),
        ('{"error":"%s"}', True),
        ("%s", True),
        ("invalid line: %s", False),
        ('{"message":"%s"}', False),
        ('{"@timestamp":"2026-10-11T22:14:15Z","message":"%s"}', False),
        ('{"error":{"type":"app_error","reason":"cannot read [%s]"}}', False),
        ('{"error":{"type":"mapper_parsing_exception","reason":"%s"}}', False),
        ('{"error":{"type":"app_error"},"document":"%s"}', False),
    ],
)
def test_only_the_receiver_s_own_words_hold_an_account(
    words: str, form: str, is_held: bool
) -> None:
    found = verdict(Answer(400, {}, (form % words).encode()))
    assert found.fate is (Fate.HOLD if is_held else Fate.REFUSED)


def test_a_limit_of_the_rate_is_soon_over() -> None:
    text = b"Ingestion rate limit exceeded for user fake"
    found = verdict(Answer(429, {}, text), read_any)
    assert found.fate is Fate.RETRY


def test_where_it_has_moved_to_is_said() -> None:
    found = verdict(Answer(301, {"location": "https://else.example/\x1b"}, b""))
    assert found.reason == "301, its place is https://else.example/\\x1b: write that URL"


def test_splunk_takes_all_or_says_which_event_is_at_fault() -> None:
    taken = Answer(200, {}, b'{"text":"Success","code":0}')
    assert verdicts_of(taken, 2, read_splunk_hec) == [DELIVERED] * 2
    assert verdict(Answer(200, {}, b"{}"), read_splunk_hec, 2).fate is Fate.RETRY
    wrong = Answer(400, {}, b'{"text":"Invalid data format","code":6,"invalid-event-number":1}')
    fates = [each.fate for each in verdicts_of(wrong, 3, read_splunk_hec)]
    assert fates == [Fate.RETRY, Fate.REFUSED, Fate.RETRY]
    elsewhere = Answer(400, {}, b'{"text":"Invalid data format","code":6,"invalid-event-number":3}')
    assert verdict(elsewhere, read_splunk_hec, 3).fate is Fate.SPLIT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("7", 7.0), (" 7 ", 7.0), ("0", 0.0), ("", 0.0), ("-7", 0.0), ("soon", 0.0)),
        *(("9" * 400, 3600.0), ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0), ("²", 0.0)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
    ],
)
def test_retry_after(text: str, seconds: float) -> None:
    assert Answer(429, {"retry-after": text}).retry_after(100.0) == seconds


@given(
    status=st.integers(100, 999),
    body=st.binary(max_size=50)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["items", "index", "create", "status", "error", "reason", "code"]),
                inner,
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
    read=st.sampled_from([read_any, read_bulk, read_splunk_hec]),
    records=st.integers(1, 3),
)
def test_any_answer_has_a_verdict_for_each_record(
    status: int, body: bytes, read: Read, records: int
) -> None:
    verdicts = verdicts_of(Answer(status, {}, body), records, read)
    assert len(verdicts) == records
    assert all(each.reason.isprintable() and len(each.reason) < 400 for each in verdicts)
    assert all(each is DELIVERED or (each.cause and each.reason) for each in verdicts)
