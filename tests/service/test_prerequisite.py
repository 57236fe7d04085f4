from __future__ import annotations

from relay.service.prerequisite import Prerequisite, Reminder


def test_it_says_what_is_wrong_and_what_happens_meanwhile() -> None:
    files = Prerequisite("messages are queued")
    assert files.state == ""
    files.trouble = "no certificate"
    assert files.state == "no certificate; messages are queued"


def test_everybody_who_waits_is_told_each_time() -> None:
    files, told = Prerequisite("it waits"), []
    files.when_fulfilled(lambda: told.append("first"))
    files.when_fulfilled(lambda: told.append("second"))
    files.trouble = "no certificate"
    assert told == []
    files.fulfil()
    assert (told, files.state) == (["first", "second"], "")


def test_a_trouble_is_said_at_once_then_hourly_and_in_other_words_at_once() -> None:
    reminder = Reminder()
    due = [
        reminder.is_due(text, now)
        for text, now in (("a", 0.0), ("a", 3599.0), ("a", 3600.0), ("b", 3601.0), ("b", 3602.0))
    ]
    assert due == [True, False, True, True, False]
    reminder.forget()
    assert reminder.is_due("b", 3603.0)
