from __future__ import annotations

import resource

import pytest

from relay.service.configuration.model import Url
from relay.service.process.open_files import open_files_warning
from tests.configurations import new_source

SOURCES = [
    new_source("a", Url("tcp", port=514), connections_max=700),
    new_source("b", Url("relp+tls", port=601), connections_max=300),
    new_source("c", Url("udp", port=514), connections_max=9000),
    new_source("d", Url("file", path="/var/log/*.log"), files_max=50),
]


@pytest.mark.parametrize("hard", [1107, 1108, resource.RLIM_INFINITY])
def test_a_limit_below_what_sources_may_open_is_said(
    monkeypatch: pytest.MonkeyPatch, hard: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, hard))
    words = open_files_warning(SOURCES, 6)
    if hard != 1107:
        assert words == ""
        return
    assert words == (
        "this process may have 1,107 files open, and could need 1,108: 1,000 for connections "
        "(connections_max of all sources), 50 for files that are read (files_max), 58 of its own; "
        "raise LimitNOFILE= of the unit or ulimit -n, or lower connections_max"
    )
