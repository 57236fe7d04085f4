from __future__ import annotations

from twisted.internet.task import Clock

from relay.model.counters import SourceCounters
from relay.queue.admission.backpressure import Admission
from relay.transport.notices import Notices
from relay.transport.reception import Reception


class Log:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, message: str, **fields: object) -> None:
        self.texts.append(message.format(**fields))


def test_each_path_has_its_own_rate_limit() -> None:
    log = Log()
    notices = Notices(clock=Clock(), log=log, interval_seconds=60.0)  # type: ignore[arg-type]
    admission = Admission(pending_bytes_max=100, queue_bytes_max=100)
    reception = Reception("app", object(), admission, SourceCounters(), notices)
    reception.warn("unreadable", "/a: no", about="/a")
    reception.warn("unreadable", "/b: no", about="/b")
    reception.warn("unreadable", "/a: no", about="/a")
    assert log.texts == ["source app: /a: no", "source app: /b: no"]
