from __future__ import annotations

import pytest

from relay.service.sources.journal_keys import FieldNames, Matches


def test_matches_as_journalctl_takes_them() -> None:
    written = ["_TRANSPORT=kernel", "+", "_SYSTEMD_UNIT=ssh.service", "_PID=", "A=x y=z", "A=x"]
    assert Matches().read(written) == tuple(written)
    assert Matches().read([]) == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("_PID=1", "expected a list such as .*, found '_PID=1'"),
        ([1], "expected a list such as .*, found a list of 1"),
        (["_PID"], "expected FIELD=value, .* found '_PID'"),
        (["_pid=1"], "found '_pid=1'"),
        (["=1"], "found '=1'"),
        (["1A=1"], "found '1A=1'"),
        (["--since=now"], "found '--since=now'"),
        (["/usr/bin/dbus"], "found '/usr/bin/dbus'"),
        (["A=\0"], r"found 'A=\\x00'"),
        (["A" * 65 + "=1"], "expected FIELD=value"),
        (["+", "A=1"], r"'\+' stands between two matches"),
        (["A=1", "+"], r"'\+' stands between two matches"),
        (["A=1", "+", "+", "A=1"], r"'\+' stands between two matches"),
        (["A=1"] * 101, "expected at most 100 of them, found 101"),
    ],
)
def test_bad_matches(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Matches().read(value)


def test_fields() -> None:
    assert FieldNames().read(["_SYSTEMD_UNIT", "X_1"]) == ("_SYSTEMD_UNIT", "X_1")
    assert FieldNames().read([]) == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("_UID", "expected a list of fields such as .*, found '_UID'"),
        (["_uid"], "expected names of fields, .* found '_uid'"),
        (["A=1"], "found 'A=1'"),
        (["A,B"], "found 'A,B'"),
        (["A" * 33], "at most 32 characters long, found 'A"),
        (["_UID", "_UID"], "'_UID' is in the list twice; remove one"),
    ],
)
def test_bad_fields(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FieldNames().read(value)
