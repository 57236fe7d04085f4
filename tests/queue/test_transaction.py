from __future__ import annotations

from relay.queue.transaction import account_of_source, is_of_source


def test_no_destination_can_have_the_account_of_a_source() -> None:
    assert is_of_source(account_of_source("in"))
    assert not is_of_source("in")
    assert "/" in account_of_source("in")  # which no id has
