from __future__ import annotations

import pytest

from relay.cli.moving.conditions import ALWAYS, NEVER, to_match
from relay.cli.moving.rsyslog.selectors import condition_of_selector, priorities


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("mail.*", {"facility": "mail"}),
        ("mail,news.err", {"facility": ["mail", "news"], "severity": "..err"}),
        ("*.crit", {"severity": "..crit"}),
        ("*.=warn", {"severity": "warning"}),
        ("mail.!=info;mail.*", {"facility": "mail"}),
        ("mail.*;mail.!=info;mail.!=debug", {"facility": "mail", "severity": "..notice"}),
        ("mail.=info;mail.=err", {"facility": "mail", "severity": ["err", "info"]}),
        ("mail.*;mail.!err", {"facility": "mail", "severity": "warning.."}),
        ("*.*;auth,authpriv.none", {"not": {"facility": ["auth", "authpriv"]}}),
        ("16.7", {"facility": "local0"}),
        ("*.info;mail.none;local7.=debug", [
            {"not": {"facility": ["mail", "local7"]}, "severity": "..info"},
            {"facility": "local7"},
        ]),
    ],
)  # fmt: skip
def test_selectors_become_filters(text: str, match: object) -> None:
    assert to_match(condition_of_selector(text)) == match


def test_all_and_none() -> None:
    assert condition_of_selector("*.*") == ALWAYS
    assert condition_of_selector("*.none") == NEVER
    assert condition_of_selector("mail.*;mail.none") == NEVER
    assert priorities({}) == NEVER


@pytest.mark.parametrize("text", ["bogus.info", "mail.bogus", "24.info", "mail.8"])
def test_names_that_there_are_not(text: str) -> None:
    with pytest.raises(ValueError, match="there is no"):
        condition_of_selector(text)
