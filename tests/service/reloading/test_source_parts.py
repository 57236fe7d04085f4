"""What a source is made of, and what of that follows the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.service.assembly import _Relay
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import Configuration
from relay.service.handover.arrival import Arrival
from relay.service.kinds import KINDS
from relay.service.process.systemd import NO_SYSTEMD
from relay.service.reloading.source_parts import SourceMaker
from tests.relay_process import toml_text
from tests.reloading_relay import tables
from tests.threads import Reactor

pytestmark = pytest.mark.usefixtures("relays_end")


def configured(folder: Path, **others: Any) -> Configuration:
    path = folder / "relay.toml"
    path.write_text(toml_text(tables(folder, **others)))
    return read_configuration(str(path), KINDS)


def maker_of(configuration: Configuration) -> SourceMaker:
    reactor = Reactor()
    relay = _Relay(reactor, configuration, Arrival(systemd=NO_SYSTEMD), reactor.seconds, KINDS)
    return relay.sources._maker


def test_a_source_goes_into_the_queues_that_it_feeds(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    maker = maker_of(configuration)
    fed = {
        source.id: [route.destination for route in maker.ways(source)]
        for source in configuration.sources
    }
    assert fed == {"app": ["all", "own"], "system": ["all"]}


def test_the_next_source_counts_on_where_the_one_before_has_stopped(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    maker = maker_of(configuration)
    before = maker.new(configuration.sources[0])
    before.service.counters.received_records = 7
    assert maker.new(configuration.sources[0], before).service.counters.received_records == 7
    assert maker.new(configuration.sources[0]).service.counters.received_records == 0


def test_marks_are_those_of_limited_queues(tmp_path: Path) -> None:
    own = {"connect": f"file:{tmp_path}/own.log", "sources": ["app"], "queue_bytes_max": "9 MiB"}
    maker = maker_of(configured(tmp_path, destinations={"own": own}))
    assert len(maker.marks("app")) == len(maker.marks("system")) + 1


def test_circles_are_looked_for_while_hops_are_limited(tmp_path: Path) -> None:
    maker = maker_of(configured(tmp_path))
    assert maker.guard("app") is not None
    maker.use(configured(tmp_path, relay={"hops_max": 0}))
    assert maker.guard("app") is None
