"""Services that a relay has only if they are configured: alerts and the web server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from twisted.application.service import Service

from relay.service.configuration.model import Configuration
from relay.service.refusal import StartRefused
from relay.service.relay_service import SequentialService
from relay.service.tls.certificate_watch import CertificateWatch

S = TypeVar("S", bound=Service)


@dataclass(slots=True)
class OptionalService(Generic[S]):
    """One of them, or none.

    Args:
        subject: Whose certificates it uses, as `CertificateWatch` has it.
        make: Makes it; None if it is not configured.

    Attributes:
        current: The one in use; None = there is none.
    """

    subject: str
    make: Callable[[Configuration], S | None]
    certificates: CertificateWatch
    current: S | None = None

    def begin(self, configuration: Configuration) -> None:
        """Make that of the first configuration."""
        self.current = self.make(configuration)

    async def change(
        self, old: Configuration, new: Configuration, within: SequentialService, before: Service
    ) -> str:
        """Put that of another configuration in its place.

        Args:
            within: Runs it, at the place of `before`, which starts later and stops earlier.

        Returns:
            Why the new one could not start, then the one before goes on; empty = it did.
        """
        if self.current is not None:
            await within.let_go(self.current)
        problem = self._start(new, within, before)
        if problem and (more := self._start(old, within, before)):
            problem += f"; and the one before does not start again: {more}"
        return problem

    def _start(
        self, configuration: Configuration, within: SequentialService, before: Service
    ) -> str:
        self.certificates.release(self.subject)
        self.current = made = self.make(configuration)
        try:
            if made is not None:
                within.take_in(made, before=before)
        except StartRefused as refusal:
            self.current = None
            return refusal.text
        return ""
