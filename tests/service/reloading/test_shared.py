from __future__ import annotations

from pathlib import Path

import pytest

from relay.model.counters.source import SourceCounters
from relay.queue.admission.backpressure import Admission
from relay.service.queue.service import QueueService
from relay.service.reloading.shared import Shared
from relay.transport.notices import Notices
from tests.assembled_relay import reached
from tests.reloading_relay import ReloadingRelay, tables

pytestmark = pytest.mark.usefixtures("relays_end")


def test_what_is_shared_is_the_same_after_a_reload(tmp_path: Path) -> None:
    relay = ReloadingRelay(tmp_path, tables(tmp_path))
    relay.start()
    kinds = (Shared, QueueService, Admission, Notices)
    before = {id(each) for _, each in reached(relay.service) if isinstance(each, kinds)}
    more = {"new": {"listen": f"unixgram:{tmp_path}/new"}}
    relay.reload(tables(tmp_path, sources=more, relay={"reserve_bytes": "100 MiB"}))
    after = {id(each) for _, each in reached(relay.service) if isinstance(each, kinds)}
    assert after == before
    assert any(isinstance(each, SourceCounters) for _, each in reached(relay.service))
    relay.stop()
