"""What the answer to a request says of each of the records that it brought.

Statuses decide as far as they can (RFC 9110 §15, RFC 6585 §4):

    2xx                        as the body of the answer says, where the protocol has one
    413                        too much at once
    408, 429, 5xx              later
    401, 403, 404, 3xx, …      the request is at fault, not what it brought: held
    400, 422                   something that it brought is at fault

Texts of servers are bounded and printable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from enum import Enum

import msgspec

from relay.model.text import printable

REASON_CHARACTERS_MAX = 300
FORBIDDEN_ITEM = ("item 401", "item 403")
"""Causes of a hold: the sender of the request may not write to the index of the document."""
NO_CONNECTION = "connect"
"""The cause if there is no connection; its text names the server."""
NO_CREDENTIALS = "credentials"
"""The cause if the file of a token or a password cannot be read."""
_RETRY_AFTER_SECONDS_MAX = 3600.0
_TOO_LARGE = 413
_AT_FAULT = (400, 422)
_LATER = (408, 429)
_CONFLICT = 409  # of `create`: the document is there already, so it is a repeat
# Of single documents: their index takes nothing at present, whatever they are.
_INDEX_TYPES = (
    *("cluster_block_exception", "unavailable_shards_exception"),
    *("no_shard_available_action_exception", "process_cluster_event_timeout_exception"),
)
_LATER_TYPES = (*_INDEX_TYPES, "es_rejected_execution_exception")
# Their reasons quote names and values of the document, whose sender must not cause a hold.
_QUOTING_TYPES = (
    *("document_parsing_exception", "mapper_parsing_exception", "mapper_exception"),
    *("illegal_argument_exception", "strict_dynamic_mapping_exception"),
)
# Sematext's, which logsene-js looks for as well.  They begin the reason of an error: further
# behind stands what a server quotes of a document.
_UNKNOWN_TOKEN = "application not found for token"
_LIMIT_TEXTS = ("daily limit", "daily volume limit")  # a limit of the rate is another matter
_SEMATEXT_ERROR = "x-logsene-error"


class Fate(Enum):
    """What is to be done with a record."""

    DELIVERED = "delivered"
    RETRY = "retry"
    HOLD = "hold"
    """Retry with long pauses: somebody has to do something about it."""
    SPLIT = "split"
    """The request was too large, or one of its records is at fault and nobody says which."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer says of one record."""

    fate: Fate
    cause: str = ""
    """One of few texts, to count by."""
    reason: str = ""
    """Why, for people."""
    until_midnight: bool = False
    """Of a hold: midnight UTC ends it at the latest."""
    is_of_index: bool = False
    """Of a record that is to be sent later: its index is at fault, not the record."""


DELIVERED = Verdict(Fate.DELIVERED)


def is_failure(verdict: Verdict) -> bool:
    """Whether the server has failed, perhaps because of a document or its index.

    That is 5xx, no proper answer, or an index that takes nothing.
    """
    if verdict.is_of_index:
        return True
    kind, _, status = verdict.cause.partition(" ")
    if verdict.fate is not Fate.RETRY or verdict.cause == NO_CONNECTION:
        return False
    return kind not in ("status", "item") or status >= "500"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that came in whole."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    """By names in lower case."""
    body: bytes = b""

    @property
    def is_server_error(self) -> bool:
        """RFC 9110 section 15.6."""
        return self.status >= 500

    def retry_after(self, now: float) -> float:
        """Seconds that the server wants to be left alone, an hour at most; 0 = it says nothing."""
        text = self.headers.get("retry-after", "").strip()
        try:
            seconds = float(text[:9]) if text.isdecimal() else _seconds_until(text, now)
        except (ValueError, TypeError, OverflowError):
            return 0.0
        return min(max(seconds, 0.0), _RETRY_AFTER_SECONDS_MAX)


Read = Callable[[Answer, int], list[Verdict]]
"""The verdicts of a successful answer, in the order of the records; given how many they are."""


def verdicts_of(answer: Answer, records: int, read: Read) -> list[Verdict]:
    """What `answer` says of the `records` of its request, in their order."""
    if held := _held(answer):
        return [held] * records
    if 200 <= answer.status < 300:
        return read(answer, records)
    reason = f"{answer.status} {_reason_in(answer)}".rstrip()
    cause = f"status {answer.status}"
    if answer.status == _TOO_LARGE:
        return [_divided(records, cause, reason)] * records
    if answer.status in _LATER or answer.is_server_error:
        return [Verdict(Fate.RETRY, cause, reason)] * records
    if answer.status in _AT_FAULT:
        return _at_fault(answer, records, cause, reason)
    if answer.status in (301, 302, 307, 308):
        place = printable(answer.headers.get("location", "another URL"))
        reason = f"{answer.status}, its place is {place}: write that URL"
    return [Verdict(Fate.HOLD, cause, reason)] * records


def read_bulk(answer: Answer, records: int) -> list[Verdict]:
    """Each document has its own status, as Elasticsearch, OpenSearch and Sematext answer."""
    content = _document(answer)
    items = content.get("items") if isinstance(content, dict) else None
    if not isinstance(items, list):
        return [_broken("JSON", f"no items in {_shown(answer.body)}")] * records
    if len(items) != records:
        reason = f"{len(items)} items for {records} documents"
        return [_broken("number of items", reason)] * records
    return [_of_item(item) for item in items]


def read_any(answer: Answer, records: int) -> list[Verdict]:
    """The status has said it all."""
    return [DELIVERED] * records


def read_splunk_hec(answer: Answer, records: int) -> list[Verdict]:
    """Everything or nothing is taken; code 0 = everything."""
    content = _document(answer)
    if isinstance(content, dict) and content.get("code") == 0:
        return [DELIVERED] * records
    return [_broken("JSON", f"no code 0 in {_shown(answer.body)}")] * records


def _held(answer: Answer) -> Verdict | None:
    """That an account is at fault: signs of Sematext, whatever the status is."""
    error = answer.headers.get(_SEMATEXT_ERROR, "")
    if not error and answer.status < 300:
        return None  # then each item says it for itself
    if "limit" in error.lower():
        return Verdict(Fate.HOLD, "limit", _bounded(error), until_midnight=True)
    if error:
        return _account_verdict("", error)
    if not 400 <= answer.status < 500:
        return None
    content = _document(answer)
    found = content.get("error") if isinstance(content, dict) else _text(answer.body)
    return _account_verdict(*_kind_and_reason(found))


def _account_verdict(kind: str, reason: str) -> Verdict | None:
    """Args: those of an error, which says of an account what its reason begins with."""
    low = reason.strip().lower()
    if kind in _QUOTING_TYPES:
        return None
    if low.startswith(_UNKNOWN_TOKEN):
        return Verdict(Fate.HOLD, "unknown token", _bounded(reason))
    if low.startswith(_LIMIT_TEXTS):
        return Verdict(Fate.HOLD, "limit", _bounded(reason), until_midnight=True)
    return None


def _kind_and_reason(error: object) -> tuple[str, str]:
    """Of an error that is an object, or a text."""
    if isinstance(error, dict):
        return str(error.get("type", "")), _reasons(error)
    return "", str(error or "")


def _at_fault(answer: Answer, records: int, cause: str, reason: str) -> list[Verdict]:
    """Splunk says which event it is; others do not."""
    verdict = _divided(records, cause, reason)
    content = _document(answer)
    number = content.get("invalid-event-number") if isinstance(content, dict) else None
    if type(number) is not int or not 0 <= number < records:
        return [verdict] * records
    verdicts = [Verdict(Fate.RETRY, cause, reason)] * records
    verdicts[number] = replace(verdict, fate=Fate.REFUSED)
    return verdicts


def _divided(records: int, cause: str, reason: str) -> Verdict:
    return Verdict(Fate.SPLIT if records > 1 else Fate.REFUSED, cause, reason)


def _of_item(item: object) -> Verdict:
    """Of ``{"index": {"status": 201, …}}``."""
    ((verb, content),) = item.items() if isinstance(item, dict) and len(item) == 1 else [("", {})]
    status = content.get("status") if isinstance(content, dict) else None
    if type(status) is not int or not 100 <= status <= 599:
        return _broken("JSON", "an item without a status")
    assert isinstance(content, dict)
    if 200 <= status < 300:
        return DELIVERED
    kind, text = _kind_and_reason(content.get("error"))
    if status == _CONFLICT and verb == "create":
        return DELIVERED
    if account := _account_verdict(kind, text):
        return account
    reason = f"{status} {_bounded(f'{kind}: {text}' if kind else text)}".rstrip()
    if status in _LATER or status >= 500 or kind in _LATER_TYPES:
        return Verdict(Fate.RETRY, f"item {status}", reason, is_of_index=kind in _INDEX_TYPES)
    if status in (401, 403):
        return Verdict(Fate.HOLD, f"item {status}", reason)
    return Verdict(Fate.REFUSED, f"item {status}", reason)


def _reasons(error: dict[str, object]) -> str:
    """The reason of an error, and of what has caused it."""
    cause = error.get("caused_by")
    inner = f" ({cause.get('reason', '')})" if isinstance(cause, dict) else ""
    return f"{error.get('reason', '')}{inner}"


def _broken(cause: str, reason: str) -> Verdict:
    return Verdict(Fate.RETRY, cause, f"broken answer: {reason}")


def _reason_in(answer: Answer) -> str:
    content = _document(answer)
    if isinstance(content, dict):
        for name in ("error", "message", "text"):
            found = content.get(name)
            if isinstance(found, dict):
                found = _reasons(found)
            if isinstance(found, str) and found:
                return _bounded(found)
    return _shown(answer.body)


def _document(answer: Answer) -> object:
    """The JSON value of the body; None if it is none."""
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _text(data: bytes) -> str:
    return data[: 8 * REASON_CHARACTERS_MAX].decode("utf-8", "backslashreplace").strip()


def _shown(data: bytes) -> str:
    return _bounded(_text(data))


def _bounded(text: str) -> str:
    return printable(text, length_max=REASON_CHARACTERS_MAX)


def _seconds_until(text: str, now: float) -> float:
    return parsedate_to_datetime(text).timestamp() - now if text else 0.0
