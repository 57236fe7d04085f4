from __future__ import annotations

from relay.service.prerequisite import Prerequisite


def test_it_says_what_is_wrong_and_what_happens_meanwhile() -> None:
    files = Prerequisite("messages are queued")
    assert files.words == ""
    files.trouble = "no certificate"
    assert files.words == "no certificate; messages are queued"


def test_everybody_who_waits_is_told_each_time() -> None:
    files, told = Prerequisite("it waits"), []
    files.when_fulfilled(lambda: told.append("first"))
    files.when_fulfilled(lambda: told.append("second"))
    files.trouble = "no certificate"
    assert told == []
    files.fulfil()
    assert (told, files.words) == (["first", "second"], "")
