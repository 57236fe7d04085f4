from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.wildcard import matches, parse_wildcard


@pytest.mark.parametrize(
    ("wildcard", "path"),
    [
        ("/var/log/app.log", "/var/log/app.log"),
        ("/var/log/*.log", "/var/log/app.log"),
        ("/var/*/app.?og", "/var/log/app.log"),
        ("/var/log/app-[0-9].log", "/var/log/app-7.log"),
        ("/var/log/.*", "/var/log/.hidden"),
        ("/var/**/app.log", "/var/app.log"),
        ("/var/**/app.log", "/var/a/b/app.log"),
        ("/var/**", "/var/a/b"),
        ("/a/x[", "/a/x["),
        ("/a/*", "/a/b\nc"),
    ],
)
def test_what_matches(wildcard: str, path: str) -> None:
    assert matches(parse_wildcard(wildcard), path)


@pytest.mark.parametrize(
    ("wildcard", "path"),
    [
        ("/var/log/*.log", "/var/log/app.log.1"),
        ("/var/log/*.log", "/var/log/a/app.log"),
        ("/var/log/*", "/var/log/.hidden"),
        ("/var/log/?hidden", "/var/log/.hidden"),
        ("/var/log/*", "/var/log"),
        ("/var/**", "/var"),
        ("/var/**/app.log", "/var/.a/app.log"),
        ("/var/log/app.log", "/var/log/App.log"),
        ("/var/log/app-[!0-9].log", "/var/log/app-7.log"),
    ],
)
def test_what_does_not(wildcard: str, path: str) -> None:
    assert not matches(parse_wildcard(wildcard), path)


@given(st.text(alphabet="ab*?[]!-/.\\", max_size=12), st.text(alphabet="ab/.", max_size=12))
def test_any_wildcard_can_be_asked(wildcard: str, path: str) -> None:
    assert matches(parse_wildcard(wildcard), path) in (True, False)
