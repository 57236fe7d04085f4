"""Whether a status document is as its schema says."""

from __future__ import annotations

import json

import msgspec

from relay.observe.status_schema import StatusDocument

__all__ = ["problem_in_answer", "problem_of"]


def problem_of(document: object) -> str:
    """Where `document` differs from the types that its schema is made of; empty = nowhere."""
    try:
        msgspec.convert(document, StatusDocument)
    except msgspec.ValidationError as error:
        return f"status document: {error}; describe its keys in relay/observe/status_schema.py"
    return ""


def problem_in_answer(asked: bytes, answer: bytes) -> str:
    """The same for the answer of a control socket, if the question was for the status."""
    if json.loads(asked) != {"command": "status"}:
        return ""
    try:
        document = json.loads(answer)["result"]
    except (ValueError, KeyError):  # cut, or an error: what the caller makes of it is tested
        return ""
    return problem_of(document)
