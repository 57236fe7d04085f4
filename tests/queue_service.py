"""A queue service in a directory, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.history.keep import Histories
from relay.service.exit_status import ExitStatus
from relay.service.queue.service import QueueService, QueueSettings
from relay.service.queue.view import QueueParts
from tests.clocks import wall_of
from tests.connections import RecordingNotices
from tests.threads import Reactor

__all__ = ["Setup"]


class Setup:
    """A queue service in a directory, with everything it talks to."""

    def __init__(self, folder: Path) -> None:
        self.reactor = Reactor()
        self.notices: Any = RecordingNotices()
        self.checked: list[str] = []
        self.check_path: Callable[[str], None] = self.checked.append
        self.folder = folder
        self.path = folder / "state" / "queue"
        self.services: list[QueueService] = []
        self.limits: list[QueueLimit] = []
        self.histories = Histories()

    def service(
        self, *destinations: str, strict: bool = False, lanes: Sequence[str] = ()
    ) -> QueueService:
        settings = QueueSettings(
            path=str(self.path),
            destinations=destinations or ("out",),
            sources=("in",),
            map_bytes=10 * 2**20,
            check_path=self.check_path,
            lanes=lanes,
            strict=strict,
            limits=self.limits,
        )
        service = QueueService(
            settings,
            QueueParts(
                histories=self.histories,
                admission=Admission(pending_bytes_max=10**6, queue_bytes_max=10**6),
                notices=self.notices,
                wall=wall_of(self.reactor),
                reactor=self.reactor,
                exit_status=ExitStatus(self.reactor),
            ),
        )
        self.services.append(service)
        return service

    def started(self, *destinations: str, lanes: Sequence[str] = ()) -> QueueService:
        service = self.service(*destinations, lanes=lanes)
        service.startService()
        return service

    def commit(self, service: QueueService, payloads: Any, **keywords: Any) -> Any:
        return self.reactor.settle(service.committer.append(payloads, **keywords))

    def stop(self, service: QueueService) -> None:
        assert self.reactor.settle(service.stopService()) is None
