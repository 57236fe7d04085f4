from __future__ import annotations

from datetime import UTC
from typing import get_args

import pytest

from relay.model.origin import Origin, Transport
from relay.rewrite.drops import Drops
from relay.rewrite.steps.redaction import KINDS
from relay.service.configuration.tables.step import PERSONAL_DATA, Action
from relay.service.routes.lookup_file import LookupFile
from relay.service.routes.stages import Conditions, Stages
from relay.wire.parse import parse
from tests.written import steps_of

TABLES = [
    {"set": {"HOST": "x"}},
    {"unset": "PID"},
    {"rename": {"PID": "MSGID"}},
    {"subst": "a"},
    {"groupset": "x", "in": "a*"},
    {"map": "/t.csv", "key": "x", "into": "y"},
    {"mask": ["ipv4", "card"]},
    {"hash": "email", "key_file": "key"},
    {"add_tags": ["a"]},
    {"clear_tags": ["a"]},
    {"set_severity": 3},
    {"set_facility": 3},
    {"drop": "x"},
    {"sample": 2},
    {"rate": 1},
    {"number": True},
    {"parse": "json"},
    {"suppress_repeats": 1},
    {"group_by": "$HOST"},
]


def test_every_kind_of_personal_data_can_be_found() -> None:
    assert set(PERSONAL_DATA) == set(KINDS)


def test_every_action_has_a_stage(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path_factory.mktemp("keys") / "key"
    key.write_text("0123456789abcdef")
    table = key.with_name("table")
    table.write_text("x,1\n")
    tables = [{**table, "key_file": str(key)} if "hash" in table else table for table in TABLES]
    stages = Stages(
        conditions=Conditions(relay_name=b"here", zone=UTC),
        counter="here/d",
        template=lambda text: lambda messages, origin: [text.encode()] * len(messages),
        lookup=lambda path, columns: LookupFile(str(table)),
        zone=UTC,
        drops=Drops(),
    )
    steps = steps_of(*tables)
    assert {type(step.action) for step in steps} == set(get_args(Action))
    message, origin = (
        parse(b"<13>Oct 11 22:14:15 web app[1]: a"),
        Origin("in", Transport.UDP, "192.0.2.7"),
    )
    for step in steps:
        assert step.verb in tables[steps.index(step)]
        assert len(stages.of(step)([message], origin)) == (step.verb not in ("drop", "group_by"))
