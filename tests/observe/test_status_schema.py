"""The schema itself, and documents of relays that real ones rarely are; others come from
`tests/conftest.py` and `tests/end_to_end/test_status_schema.py`."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from relay.cli.main import main
from relay.observe.status_schema import STATUS_VERSION, status_schema
from tests.assembled_relay import Relay
from tests.status_documents import problem_in_answer, problem_of

SCHEMA = status_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.fixture
def document(tmp_path: Path) -> Iterator[dict[str, Any]]:
    relay = Relay(tmp_path)
    relay.start()
    yield relay.ask("status")
    relay.stop()


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema and "type" in schema:
            yield schema
        for member in schema.values():
            yield from objects(member)
    elif isinstance(schema, list):
        for member in schema:
            yield from objects(member)


def test_it_is_a_schema_of_the_draft_and_strict_everywhere() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    found = list(objects(SCHEMA))
    assert len(found) > 20
    assert [each["title"] for each in found if each["additionalProperties"] is not False] == []
    assert SCHEMA["$defs"]["StatusDocument"]["properties"]["status_version"] == {
        "enum": [STATUS_VERSION]
    }


def test_the_command_prints_it_without_a_relay() -> None:
    result = CliRunner().invoke(main, ["status", "--schema", "--state-dir", "/nowhere"])
    assert (result.exit_code, json.loads(result.output)) == (0, SCHEMA)


def test_the_document_of_a_relay_with_local_sources(document: dict[str, Any]) -> None:
    VALIDATOR.validate(document)


def test_the_document_of_an_empty_relay_and_of_one_that_stores_nothing(tmp_path: Path) -> None:
    relay = Relay(tmp_path, sources=(), destinations=())
    relay.start()
    VALIDATOR.validate(empty := relay.ask("status"))
    assert (empty["sources"], empty["destinations"]) == ([], [])
    admission: Any = relay.service.getServiceNamed("queue")._parts.admission
    admission.set_failure("No space left on device", 1.5)
    VALIDATOR.validate(failing := relay.ask("status"))
    assert failing["degraded"] == ["not accepting messages: No space left on device"]
    admission.clear_failure()
    relay.stop()


def test_a_key_without_a_schema_is_named(document: dict[str, Any]) -> None:
    for place in (document, document["sources"][0], document["destinations"][0]["latencies"]):
        place["novel"] = 1
        assert "unknown field `novel`" in problem_of(document)
        assert "relay/observe/status_schema.py" in problem_of(document)
        assert not VALIDATOR.is_valid(document)
        del place["novel"]
    assert problem_of(document) == ""


def test_both_ways_to_check_a_document_agree(document: dict[str, Any]) -> None:
    for name in document:
        without = {key: value for key, value in document.items() if key != name}
        assert name in problem_of(without) and not VALIDATOR.is_valid(without)
        other = copy.deepcopy(document) | {name: {"no": ["such", None]}}
        assert problem_of(other) and not VALIDATOR.is_valid(other)


def test_an_answer_is_checked_if_it_is_a_status(document: dict[str, Any]) -> None:
    asked = b'{"command": "status"}'
    assert problem_in_answer(asked, json.dumps({"result": document}).encode()) == ""
    assert "status_version" in problem_in_answer(asked, b'{"result": {}}')
    for other in (b'{"error": "no"}', b'{"result"'):
        assert problem_in_answer(asked, other) == ""
    assert problem_in_answer(b'{"command": "samples"}', b'{"result": {}}') == ""
