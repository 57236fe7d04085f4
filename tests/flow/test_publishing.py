from __future__ import annotations

from relay.flow.publishing import RecordRefused, Run


def test_a_run_without_numbers_is_allowed() -> None:
    assert Run([b"a"]) == ([b"a"], "", (), 0, "")


def test_a_refusal_names_the_record() -> None:
    refused = RecordRefused(3, "too large")
    assert (refused.index, str(refused)) == (3, "too large")
