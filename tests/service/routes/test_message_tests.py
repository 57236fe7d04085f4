from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from relay.model.errors import ConfigurationError
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import Configuration
from relay.service.kinds import KINDS
from relay.service.routes.explanation import failures_of

RELAY = """
[relay]
name = "here"
[sources.net]
listen = "tcp://127.0.0.1:5514"
[sources.other]
listen = "udp://127.0.0.1:5514"
[destinations.errors]
connect = "file:///var/log/errors"
sources = ["net"]
match = { severity = "..err" }
rewrite = [{ set = { ".x" = "$HOST", PROGRAM = "a\\u00e9" } }, { add_tags = ["t"] }]
[destinations.all]
connect = "relp://127.0.0.1:20514"
"""


def configuration(tmp_path: Path, tests: str) -> Configuration:
    path = tmp_path / "relay.toml"
    path.write_text(RELAY + tests)
    return read_configuration(str(path), KINDS)


def failures(
    tmp_path: Path, expect: str, frame: str = "<11>Oct 11 22:14:15 web su[7]: hi"
) -> list[str]:
    test = f'[[tests]]\nname = "one"\nframe = "{frame}"\n{expect}\n'
    return failures_of(configuration(tmp_path, test), now=1e9, zone=UTC)


@pytest.mark.parametrize(
    "expect",
    [
        "expect.errors = true",
        'expect.errors = { hostname = "web", app_name = "aé", procid = "7", msg = "hi" }',
        'expect.errors = { severity = "err", facility = 1, tags = ["t"], app = "" }',
        'expect.errors = { severity = 3, facility = "user" }',
        'expect.errors = { pairs = { ".x" = "web", ".y" = false }, msgid = false }',
        'expect.errors = { payload = { contains = "web aé[7]: hi" } }',
        'expect.all = { payload = "<11>Oct 11 22:14:15 web su[7]: hi" }',
        'source = "other"\nexpect.errors = false\nexpect.all = true',
    ],
)
def test_what_comes_true(tmp_path: Path, expect: str) -> None:
    assert failures(tmp_path, expect) == []


@pytest.mark.parametrize(
    ("expect", "failure"),
    [
        ("expect.errors = false", "errors: gets it: match fits"),
        ('source = "other"\nexpect.errors = true', "errors: does not get it: is not fed by"),
        ('expect.errors = { severity = "crit" }', "errors: severity is 'err', expected 'crit'"),
        ('expect.errors = { hostname = "db" }', "errors: hostname is 'web', expected 'db'"),
        ("expect.errors = { hostname = false }", "errors: hostname is 'web', expected False"),
        ('expect.errors = { msgid = "x" }', "errors: msgid is missing, expected 'x'"),
        ('expect.errors = { tags = ["t", "u"] }', "errors: has no tags u"),
        ('expect.errors = { app = "shop" }', "errors: app is '', expected 'shop'"),
        ('expect.errors = { pairs = { ".x" = "y" } }', "errors: .x is 'web', expected 'y'"),
        ('expect.all = { payload = "x" }', "all: sends '<11>Oct 11 22:14:15 web su[7]: hi'"),
        ('expect.all = { payload = { contains = "x" } }', "all: 'x' is not in what is sent"),
    ],
)
def test_what_does_not_is_said(tmp_path: Path, expect: str, failure: str) -> None:
    found = failures(tmp_path, expect)
    assert len(found) == 1
    assert found[0].startswith("tests[0] (one): ")
    assert failure in found[0]


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        ("[[tests]]\nframe = 'x'", "tests[0].expect: is missing"),
        ("[[tests]]\nexpect.all = true", "tests[0].frame: is missing"),
        (
            "[[tests]]\nframe = 'x'\nexpect = 1",
            "tests[0].expect: expected a table such as {",
        ),
        ("[[tests]]\nframe = 'x'\nexpect.al = true", "there is no destination 'al', did you mean"),
        ("[[tests]]\nframe = 'x'\nexpect.all = 'x'", "expected true, false or a table, found 'x'"),
        ("[[tests]]\nframe = 'x'\nexpect.all = { host = 'x' }", "expect.all.host: unknown key"),
        ("[[tests]]\nframe = 'x'\nsource = 'x'\nexpect.all = true", "there is no source 'x'"),
        ("[tests]\nframe = 'x'", "tests: expected tables [[tests]], found a table"),
    ],
)
def test_what_is_wrong_with_a_test_is_said(tmp_path: Path, test: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configuration(tmp_path, test)
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


def test_texts_are_utf8_whatever_the_source_receives(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(
        """
        [sources.in]
        listen = "udp://127.0.0.1:5514"
        parse = { encoding = "utf-16le" }
        [destinations.all]
        connect = "file:///var/log/all"
        [[tests]]
        frame = "<13>Oct 11 22:14:15 web app: café"
        expect.all = { hostname = "web", msg = "café", payload = { contains = "app: café" } }
        """
    )
    assert failures_of(read_configuration(str(path), KINDS), now=1e9, zone=UTC) == []
