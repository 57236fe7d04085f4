from __future__ import annotations

import tomllib

from relay.service.configuration.expectations import Expectation, bytes_of, read_tests
from relay.service.configuration.reading import Reading


def test_octets_can_be_written_in_texts() -> None:
    assert bytes_of(tomllib.loads(r"x = 'a\xffé\x00'")["x"]) == b"a\xff\xc3\xa9\x00"


def test_what_is_expected_is_read_once() -> None:
    text = r"""
    [[tests]]
    frame = "<13>x"
    expect.a = true
    expect.b = { severity = "warn", hostname = false, msg = 'x\x00', payload = { contains = "x" } }
    """
    reading = Reading()
    (test,) = read_tests(tomllib.loads(text)["tests"], ["in"], ["a", "b"], reading)
    assert reading.problems == []
    assert (test.frame, test.source) == ("<13>x", "")
    assert test.expect == {
        "a": True,
        "b": Expectation(severity=4, hostname=False, msg=b"x\0", payload=(b"x", False)),
    }


def test_values_that_can_never_come_true_are_refused() -> None:
    reading = Reading()
    expect = {"severity": "warm", "procid": 7, "tags": "x", "payload": {"contain": "x"}}
    try:
        read_tests([{"frame": "x", "expect": {"a": expect}}], ["in"], ["a"], reading)
    except ValueError:
        keys = [problem.partition(": ")[0] for problem in reading.problems]
    assert keys == [f"tests[0].expect.a.{key}" for key in expect]
