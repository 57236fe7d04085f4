from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.answer_losing_proxy import tansu_behind_proxy
from tests.engines.tansu import Tansu
from tests.engines.topics import produce, read_topic
from tests.processes import Programs, running_programs

pytestmark = pytest.mark.slow


@pytest.fixture
def programs() -> Iterator[Programs]:
    with running_programs() as running:
        yield running


def test_records_and_headers_come_back_in_order(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 2})
    values = [b"%d" % number for number in range(500)]
    produce(tansu.address, "logs", values, partition=1, headers=({"n": each} for each in values))

    records = read_topic(tansu.address, "logs", 2, count=500)

    assert [record.value for record in records] == values
    assert [record.headers["n"] for record in records] == values
    assert {record.partition for record in records} == {1}


def test_a_restart_leaves_empty_topics(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 1})
    produce(tansu.address, "logs", [b"before"])

    tansu.restart_empty()

    produce(tansu.address, "logs", [b"after"])
    assert [record.value for record in read_topic(tansu.address, "logs", 1, count=1)] == [b"after"]


def test_a_paused_broker_answers_when_it_goes_on(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 1})
    tansu.pause()
    tansu.resume()
    produce(tansu.address, "logs", [b"later"])
    assert len(read_topic(tansu.address, "logs", 1, count=1)) == 1


def test_answers_that_are_lost_make_no_duplicates(programs: Programs, tmp_path: Path) -> None:
    """The broker checks the sequences of idempotent producers."""
    tansu, proxy = tansu_behind_proxy(programs, tmp_path, topics={"logs": 1})
    proxy.lose(3)
    values = [b"%d" % number for number in range(100)]

    produce(proxy.address, "logs", values, in_trouble=True)

    assert proxy.lost == 3
    assert [record.value for record in read_topic(tansu.address, "logs", 1, count=100)] == values
    proxy.close()
