"""Run the tests of a configuration (`relay.service.configuration.expectations`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import tzinfo
from typing import Literal

from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES, SyslogMessage
from relay.rewrite.fields import getter
from relay.service.configuration.expectations import Expectation, octets_of
from relay.service.configuration.model import Configuration
from relay.service.routes.explanation import Explainer, Outcome

__all__ = ["failures_of"]

_FIELDS = ("hostname", "app_name", "procid", "msgid", "msg")


def failures_of(configuration: Configuration, *, now: float, zone: tzinfo) -> list[str]:
    """One line for each expectation that does not come true.

    Args:
        now: Seconds since 1970-01-01 UTC; the time of receipt.

    Raises:
        ValueError: A file that the configuration names is no longer right.
    """
    explainer = Explainer(configuration, now=now, zone=zone)
    failures: list[str] = []
    for index, test in enumerate(configuration.tests):
        explanation = explainer.explain(
            octets_of(test.frame),
            source=test.source,
            peer_host=test.peer,
            tls_names=test.tls_names,
            is_utf8=True,
        )
        name = f" ({test.name})" if test.name else ""
        outcomes = {outcome.destination: outcome for outcome in explanation.outcomes}
        for id, expected in test.expect.items():
            outcome = outcomes.get(id) or Outcome(id, False, f"refused: {explanation.refused}")
            failures += [
                f"tests[{index}]{name}: {id}: {failure}" for failure in _failures(outcome, expected)
            ]
    return failures


def _failures(outcome: Outcome, expected: bool | Expectation) -> list[str]:
    if expected is False:
        return [f"gets it: {outcome.why}"] if outcome.taken else []
    if not outcome.taken:
        return [f"does not get it: {outcome.why}"]
    if expected is True:
        return []
    assert outcome.message is not None
    assert outcome.payload is not None
    return [
        *_differences(expected, outcome.message),
        *_payload_differences(expected, outcome.payload),
    ]


def _differences(expected: Expectation, message: SyslogMessage) -> Iterator[str]:
    for key, names, wanted, found in (
        ("facility", FACILITY_NAMES, expected.facility, message.facility),
        ("severity", SEVERITY_NAMES, expected.severity, message.severity),
    ):
        if wanted is not None and wanted != found:
            yield f"{key} is {names[found]!r}, expected {names[wanted]!r}"
    texts: Mapping[str, bytes | Literal[False] | None] = {
        **{name: getattr(expected, name) for name in _FIELDS},
        **(expected.pairs or {}),
    }
    for name, text in texts.items():
        if text is not None:
            yield from _difference(name, text, getter(name)(message))
    if expected.app is not None and expected.app != message.app:
        yield f"app is {message.app!r}, expected {expected.app!r}"
    missing = [tag for tag in expected.tags if octets_of(tag) not in message.tags]
    if missing:
        yield f"has no tags {', '.join(missing)}"


def _difference(name: str, wanted: bytes | Literal[False], found: bytes | None) -> Iterator[str]:
    words = repr(_text(wanted) if wanted is not False else False)
    if found is None and wanted is not False:
        yield f"{name} is missing, expected {words}"
    elif found is not None and found != wanted:
        yield f"{name} is {_text(found)!r}, expected {words}"


def _payload_differences(expected: Expectation, payload: bytes) -> Iterator[str]:
    if expected.payload is None:
        return
    wanted, is_all = expected.payload
    if is_all and wanted != payload:
        yield f"sends {_text(payload)!r}"
    elif wanted not in payload:
        yield f"{_text(wanted)!r} is not in what is sent, {_text(payload)!r}"


def _text(octets: bytes) -> str:
    return octets.decode(errors="backslashreplace")
