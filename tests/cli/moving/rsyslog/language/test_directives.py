from __future__ import annotations

from relay.cli.moving.rsyslog.language.directives import (
    FOR_NEXT_ACTION,
    FOR_NEXT_INPUT,
    FOR_RSYSLOG_ALONE,
    GLOBAL,
    LASTING,
    OPENS_INPUT,
)


def test_each_line_has_one_meaning_and_is_written_in_lower_case() -> None:
    tables = (FOR_NEXT_ACTION, LASTING, FOR_NEXT_INPUT, OPENS_INPUT, GLOBAL, FOR_RSYSLOG_ALONE)
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)


def test_queues_have_the_same_parameters_everywhere() -> None:
    assert FOR_NEXT_ACTION["actionqueuemaxdiskspace"] == "queue.maxdiskspace"
    assert GLOBAL["mainmsgqueuemaxdiskspace"] == ("main_queue", "queue.maxdiskspace")
