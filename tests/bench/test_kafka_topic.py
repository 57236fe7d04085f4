from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.kafka_measuring import WARM_UP, compared
from tests.bench.kafka_records import measured, numbered
from tests.bench.kafka_topic import Topic
from tests.bench.load import BenchError
from tests.bench.subjects import Subject
from tests.bench.traffic import messages

pytestmark = pytest.mark.slow

PAYLOADS = messages("mixed", 2000)
SUBJECT = Subject("it", "kafka", "nothing", lambda *_: pytest.fail("never started"))


@pytest.fixture(scope="module")
def topic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topic]:
    with Topic.running(tmp_path_factory.mktemp("topic")) as found:
        found.fill(PAYLOADS)
        yield found


def nothing() -> None:
    pass


def test_the_end_is_noticed_and_all_is_there(topic: Topic, tmp_path: Path) -> None:
    topic.wait_count(2000, 20.0, nothing)
    corpus = tmp_path / "corpus"
    corpus.write_bytes(b"".join(b"%b\n" % payload for payload in PAYLOADS))
    found = topic.payloads() + Counter(PAYLOADS[:WARM_UP])
    assert compared(SUBJECT, corpus, found) == {}
    found[PAYLOADS[0]] += 1
    assert compared(SUBJECT, corpus, found) == {"came twice": 1}
    for wrong in (found - Counter(PAYLOADS[:5]), found + Counter([b"strange"])):
        with pytest.raises(BenchError, match="missing"):
            compared(SUBJECT, corpus, wrong)


def test_what_never_comes_is_an_error(topic: Topic) -> None:
    with pytest.raises(BenchError, match="has not come"):
        topic.wait_count(2001, 0.2, nothing)
    with pytest.raises(BenchError, match="messages missing"):
        topic.wait_count(100_000, 0.2, nothing)


def test_larger_batches_take_fewer_octets(topic: Topic) -> None:
    records = numbered(PAYLOADS[:400], lineages=50)
    alone, together = (measured(topic.broker.address, records, "zstd", size) for size in (1, 200))
    assert alone.records_a_request == 1
    assert together.records_a_request > 50
    assert together.sent < alone.sent / 2
