from __future__ import annotations

import pytest

from relay.cli.moving.rsyslog.dialect import RSYSLOG


@pytest.mark.parametrize(
    "text",
    [
        "$ModLoad imudp\n",
        'module(load="imudp")',
        "*.info;mail.none /var/log/messages",
        "kern,mail.* -/var/log/kern.log",
        ':msg, contains, "x" ~',
        "if $msg contains 'x' then stop",
    ],
)
def test_signs_of_rsyslog(text: str) -> None:
    assert RSYSLOG.score(text) == 1


@pytest.mark.parametrize(
    "text", ["", "hello world", "@version: 3.38\nlog { source(s); };", "[sources.a]\ntype = 'x'"]
)
def test_no_signs_of_rsyslog(text: str) -> None:
    assert RSYSLOG.score(text) == 0
