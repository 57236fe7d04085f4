"""Values of a configuration, by what is written in the file."""

from __future__ import annotations

from collections.abc import Mapping

from relay.model.token import Token
from relay.service.configuration.filter_table import Filter, FilterTables
from relay.service.configuration.model import TokenChoice, UnreadToken
from relay.service.configuration.reading import Reading
from relay.service.configuration.rewrite_table import slot_of
from relay.service.configuration.step_table import Step, Steps

ERRORS = {"errors": {"severity": "..err"}}


def filter_tables(reading: Reading, named: Mapping[str, object] = ERRORS) -> FilterTables:
    return FilterTables(named, sources=["in"], apps=["shop"], reading=reading)


def filter_of(value: object) -> Filter:
    reading = Reading()
    found = filter_tables(reading).filter(value, "match")
    assert reading.problems == []
    return found


def steps_of(*tables: object) -> tuple[Step, ...]:
    reading = Reading("/etc")
    return tuple(reading.read(Steps(filter_tables(reading)), table, "step") for table in tables)


def choice(match: object, token: Token | UnreadToken) -> TokenChoice:
    return TokenChoice(token, filter_of(match), slot_of(match))
