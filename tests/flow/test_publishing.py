from __future__ import annotations

from relay.flow.publishing import RecordRefused, Run, with_numbers_in_text


def test_a_run_without_numbers_is_allowed() -> None:
    assert Run([b"a"]) == ([b"a"], "", (), 0, "")


def test_a_refusal_names_the_record() -> None:
    refused = RecordRefused(3, "too large")
    assert (refused.index, str(refused)) == (3, "too large")


def test_numbers_in_the_text_stand_behind_record_keys() -> None:
    text, ours = (
        b"<13>1 - - - - - - m",
        b'<13>1 - - - - - [syslogrelay@32473 lineage="x" seq="%d"] m',
    )
    run = Run([text, b"\0KEY logs\0" + text, b"other"], "x", (3, 5, 6), 2, "peer")
    numbered = with_numbers_in_text(run)
    assert numbered == ([ours % 3, b"\0KEY logs\0" + ours % 5, b"other"], "x", (3, 5, 6), 2, "peer")
    assert with_numbers_in_text(Run([text])) == Run([text])
