"""Tests of a configuration, written in it: what is to become of a message.

    [[tests]]
    name = "failed logins go to the alarm"
    frame = "<38>Oct 11 22:14:15 web sshd[7]: Failed password for bob"
    source = "network"                      # default: the first
    peer = "192.0.2.1"                      # default: a local sender
    expect.alarm = { hostname = "web", severity = "info", payload = { contains = "bob" } }
    expect.archive = false                  # does not get it

Texts are UTF-8, whatever the source receives; ``\\xNN`` stands for an octet that is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from relay.model.message import SyslogMessage
from relay.rewrite.fields import getter
from relay.service.configuration.filter_table import FACILITIES, SEVERITIES
from relay.service.configuration.model import Configuration
from relay.service.configuration.table import (
    Anything,
    Kind,
    Text,
    Texts,
    did_you_mean,
    join_path,
    read_table,
)
from relay.service.configuration.table import shown as shown_value
from relay.service.routes.explanation import Explainer, Outcome

__all__ = ["failures_of", "expectation_problems"]

_TEST: Mapping[str, Kind] = {
    "name": Text("a text"),
    "frame": Text("a message", r"(?s).+"),
    "source": Text("the id of a source"),
    "peer": Text("an address"),
    "tls_names": Texts("a list of names"),
    "expect": Anything(),
}
_FIELDS = ("hostname", "app_name", "procid", "msgid", "msg")
_KEYS = ("facility", "severity", *_FIELDS, "app", "tags", "pairs", "payload")
_NUMBERS = {"facility": FACILITIES, "severity": SEVERITIES}


def expectation_problems(configuration: Configuration) -> list[str]:
    """What is wrong with the tests themselves, one line each."""
    problems: list[str] = []
    for index, values in enumerate(configuration.tests):
        where = f"tests[{index}]"
        table = read_table(values, _TEST, where, problems)
        if isinstance(values, dict):
            problems += [
                f"{where}.{key}: is missing" for key in ("frame", "expect") if key not in values
            ]
        sources = [source.id for source in configuration.sources]
        if table.get("source", sources[0] if sources else "") not in sources:
            problems.append(f"{where}.source: there is no source {shown_value(table['source'])}")
        expect = table.get("expect", {})
        if not isinstance(expect, dict):
            problems.append(f"{where}.expect: expected a table, found {shown_value(expect)}")
            continue
        destinations = [destination.id for destination in configuration.destinations]
        for id, expected in expect.items():
            place = join_path(f"{where}.expect", id)
            if id not in destinations:
                near = did_you_mean(id, destinations) or ";"
                problems.append(
                    f"{place}: there is no destination {shown_value(id)}{near} there are: "
                    f"{', '.join(destinations)}"
                )
            elif isinstance(expected, dict):
                problems += [
                    f"{join_path(place, key)}: unknown key{did_you_mean(key, _KEYS) or '.'} "
                    f"Allowed here: {', '.join(_KEYS)}"
                    for key in expected
                    if key not in _KEYS
                ]
            elif not isinstance(expected, bool):
                problems.append(
                    f"{place}: expected true, false or a table, found {shown_value(expected)}"
                )
    return problems


def failures_of(configuration: Configuration, *, now: float, zone: tzinfo) -> list[str]:
    """One line for each expectation that does not come true.

    Args:
        configuration: Its tests have no `expectation_problems`.
        now: Seconds since 1970-01-01 UTC; the time of receipt.

    Raises:
        ValueError: A file that the configuration names is no longer right.
    """
    explainer = Explainer(configuration, now=now, zone=zone)
    failures: list[str] = []
    for index, test in enumerate(configuration.tests):
        assert isinstance(test, dict)
        explanation = explainer.explain(
            octets_of(test["frame"]),
            source=test.get("source", ""),
            peer_host=test.get("peer", ""),
            tls_names=tuple(test.get("tls_names", ())),
            is_utf8=True,
        )
        name = f" ({test['name']})" if "name" in test else ""
        outcomes = {outcome.destination: outcome for outcome in explanation.outcomes}
        for id, expected in test["expect"].items():
            outcome = outcomes.get(id) or Outcome(id, False, f"refused: {explanation.refused}")
            failures += [
                f"tests[{index}]{name}: {id}: {failure}" for failure in _failures(outcome, expected)
            ]
    return failures


def octets_of(text: str) -> bytes:
    """`text` in UTF-8, with ``\\xNN`` for single octets."""
    return re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())


def _failures(outcome: Outcome, expected: bool | Mapping[str, Any]) -> list[str]:
    if expected is False:
        return [f"gets it: {outcome.why}"] if outcome.taken else []
    if not outcome.taken:
        return [f"does not get it: {outcome.why}"]
    if expected is True:
        return []
    assert outcome.message is not None
    assert outcome.payload is not None
    failures = []
    for key, wanted in expected.items():
        if key == "pairs":
            failures += [
                _difference(name, value, getter(name)(outcome.message))
                for name, value in wanted.items()
            ]
        elif key == "payload":
            failures.append(_payload_difference(wanted, outcome.payload))
        else:
            failures.append(_field_difference(key, wanted, outcome.message))
    return [failure for failure in failures if failure]


def _field_difference(key: str, wanted: Any, message: SyslogMessage) -> str:
    if key in _NUMBERS:
        number = getattr(message, key)
        names = _NUMBERS[key]
        if names.get(str(wanted).lower(), wanted) == number:
            return ""
        found = next(name for name, value in names.items() if value == number)
        return f"{key} is {found!r}, expected {wanted!r}"
    if key == "app":
        return "" if message.app == wanted else f"app is {message.app!r}, expected {wanted!r}"
    if key == "tags":
        missing = [tag for tag in wanted if octets_of(tag) not in message.tags]
        return f"has no tags {', '.join(missing)}" if missing else ""
    return _difference(key, wanted, getattr(message, key))


def _difference(name: str, wanted: Any, found: bytes | None) -> str:
    """`wanted` false means that there is no value."""
    if found is None:
        return "" if wanted is False else f"{name} is missing, expected {wanted!r}"
    if isinstance(wanted, str) and octets_of(wanted) == found:
        return ""
    return f"{name} is {_text(found)!r}, expected {wanted if wanted is False else repr(wanted)}"


def _payload_difference(wanted: Any, payload: bytes) -> str:
    if isinstance(wanted, dict):
        parts: Sequence[str] = [wanted["contains"]] if "contains" in wanted else []
        missing = [part for part in parts if octets_of(part) not in payload]
        return f"{missing[0]!r} is not in what is sent, {_text(payload)!r}" if missing else ""
    return "" if octets_of(str(wanted)) == payload else f"sends {_text(payload)!r}"


def _text(octets: bytes) -> str:
    return octets.decode(errors="backslashreplace")
