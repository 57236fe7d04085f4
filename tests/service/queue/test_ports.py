from __future__ import annotations

from inspect import isfunction, signature

import pytest

from relay.service.queue.ports import Positions, QueueAccess
from relay.service.queue.service import QueueService


@pytest.mark.parametrize("port", [QueueAccess, Positions])
def test_the_queue_service_offers_all_of_it(port: type) -> None:
    members = {name: member for name, member in vars(port).items() if not name.startswith("_")}
    assert members
    for name, member in members.items():
        offered = getattr(QueueService, name)
        if isfunction(member):
            assert set(signature(member).parameters) <= set(signature(offered).parameters), name
