"""The kernel's log as a source: /dev/kmsg, resumed by the numbers of its records.

The kernel keeps records in a ring and numbers them from boot on.  Each read gives one record; a
reader that falls behind finds the oldest ones overwritten, and their numbers tell how many.  The
number of a batch's last record is stored in the transaction of the batch, with the id of the boot
that it belongs to, so a crash neither loses nor repeats a record on its way to the queue.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.flow.intake import Intake
from relay.model.clock import Now, Reactor
from relay.model.origin import Origin
from relay.model.text import counted
from relay.transport.reception import OversizePolicy, Reception
from relay.wire.kernel_record import KernelRecord, format_record, parse_record

__all__ = ["DEVICE", "POSITION", "KernelLogReader", "boot_id"]

DEVICE = "/dev/kmsg"
POSITION = "kernel"
"""Name of the stored position: the boot and the number of the last record."""

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_POSITION = re.compile(rb"([0-9a-f-]{1,40}) ([0-9]{1,20})")
_RECORD_BYTES_MAX = 16384  # the kernel writes 8,192 at most
_RECORDS_MAX = 200  # a wake-up, so that other sources get their turn
_SKIPS_MAX = 1000  # of so many; a ring of 1 MiB has 20,000 at most
_SAMPLES_MIN, _SAMPLES_MAX = 4, 16
_BATCHES_MAX = 64  # that wait for their commit


def boot_id(path: str = _BOOT_ID) -> str:
    """The id that the kernel has given to this boot; empty = it is not known."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return ""


@implementer(IReadDescriptor)
class KernelLogReader:
    """Reads the kernel's log for one source.

    Args:
        hostname: Of this host, for the messages.
        boot: The id of this boot.
        from_beginning: Where to begin the first time; otherwise with new records.
        now: The time of day, for stamps.
        device: The path of the log.

    Attributes:
        read: Reads one record of a descriptor, like `os.read`.
        since_boot: Seconds since boot, about as the kernel's log counts them.
    """

    def __init__(
        self,
        reception: Reception,
        *,
        hostname: bytes,
        boot: str,
        oversize: OversizePolicy,
        from_beginning: bool,
        now: Now,
        reactor: Reactor,
        device: str = DEVICE,
    ) -> None:
        self.trouble = ""
        """Why nothing is read; empty = it is, or it has not begun."""
        self.gaps = 0
        """How often records were overwritten before they were read."""
        self.read: Callable[[int, int], bytes] = os.read
        self.since_boot: Now = time.monotonic
        self._reception = reception
        self._intake: Intake = reception.intake
        self._origin = Origin(source=reception.source, transport=reception.transport)
        self._hostname = hostname
        self._boot = boot
        self._oversize = oversize
        self._from_beginning = from_beginning
        self._now = now
        self._reactor = reactor
        self._device = device
        self._fd = -1
        self._last: int | None = None  # the number of the last record that was taken
        self._skips = False  # what is there already, the first time
        self._is_live = False  # all that there was has been read
        # Seconds that the clock of records was behind `since_boot`, when some had just come.
        self._behind: deque[float] = deque(maxlen=_SAMPLES_MAX)
        self._pauses: set[str] = set()
        self._waiting = 0  # batches without their commit

    @property
    def is_reading(self) -> bool:
        return self._fd >= 0

    def open(self) -> None:
        """Open the log, while the process may still have the rights to.

        Where it cannot be opened, `trouble` says why.
        """
        try:
            self._fd = os.open(self._device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self.trouble = f"cannot read {self._device}: {error.strerror}"
            if isinstance(error, PermissionError):
                self.trouble += "; the kernel's log needs root or CAP_SYSLOG"

    def start(self, position: bytes | None) -> None:
        """Begin after the record that `position` names; None = it is the first time."""
        if not self.is_reading:
            return
        found = _POSITION.fullmatch(position or b"")
        if found is not None and found[1].decode() == self._boot:
            self._last = int(found[2])
        # All records of another boot are new, and a damaged position is none.
        self._skips = position is None and not self._from_beginning
        for _ in range(_SKIPS_MAX):  # at once: what comes from now on is new
            if self._skips:
                self.doRead()
        self._skips = False
        if not self.is_reading:
            return
        self._reception.admission.register(self)
        if not self._pauses:
            self._reactor.addReader(self)

    def stop(self) -> None:
        if not self.is_reading:
            return
        self._reception.admission.unregister(self)
        self._close()

    # Called by admission.

    def pause_reading(self) -> None:
        self._reception.counters.pauses += 1
        self._pause("admission")

    def resume_reading(self) -> None:
        self._resume("admission")

    # Called by the reactor.

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return f"source {self._origin.source}"

    def connectionLost(self, reason: Failure) -> None:
        self._close()

    def doRead(self) -> None:
        """Take the records that there are, up to a limit."""
        was_live, records, self._is_live = self._is_live, [], False
        for _ in range(_RECORDS_MAX):
            try:
                data = self.read(self._fd, _RECORD_BYTES_MAX)
            except BlockingIOError:
                self._is_live = True
                break
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten; the next one is the oldest there is
                    continue
                self._fail(error)
                break
            if (record := parse_record(data)) is None:
                self._reception.counters.protocol_errors += 1
                self._reception.warn("record", f"{self._device} gave {data[:40]!r}, no record")
            elif self._last is None or record.seq > self._last:
                self._count_missing(record.seq)
                self._last = record.seq
                records.append(record)
        if was_live and records:
            self._behind.append(self.since_boot() - records[-1].microseconds / 1e6)
        if self._skips:
            self._skips, records = not self._is_live, []
            if self._skips or self._last is None:
                return
            self._store([])
        elif records:
            self._store(records)

    # Records.

    def _count_missing(self, seq: int) -> None:
        missing = 0 if self._last is None or self._skips else seq - self._last - 1
        if missing:
            self.gaps += 1
            counters = self._reception.counters
            counters.received_records += missing
            counters.dropped["kernel-buffer"] += missing
            self._reception.warn(
                "kernel-buffer",
                f"the kernel has overwritten {counted(missing, 'record')} of its log before they "
                "were read (log_buf_len of the kernel)",
            )

    def _store(self, records: list[KernelRecord]) -> None:
        boot_at = self._now() - self.since_boot() + self._drift()
        limit = self._oversize.frame_bytes_max
        whole = [
            format_record(record, boot_at + record.microseconds / 1e6, self._hostname)
            for record in records
        ]
        cut = {index: len(frame) for index, frame in enumerate(whole) if len(frame) > limit}
        settled = self._oversize.settle([frame[:limit] for frame in whole], cut, {})
        if settled.kind:
            self._reception.warn(settled.kind, settled.text)
        self._waiting += 1
        if self._waiting >= _BATCHES_MAX:
            self._pause("commits")
        position = f"{self._boot} {self._last}".encode()
        self._intake.accept(
            settled.frames,
            self._origin,
            cut=settled.cut,
            positions={f"{self._reception.source}/{POSITION}": position},
        ).addCallbacks(self._stored, self._not_stored)

    def _drift(self) -> float:
        """Seconds that the clock of records goes after `since_boot`.

        NTP does not discipline it, so it may be off by a minute after months.  Records that have
        just come show by how much; the least counts, because the kernel holds back a record that
        ends without LF until another one comes.
        """
        return min(self._behind) if len(self._behind) >= _SAMPLES_MIN else 0.0

    def _stored(self, _: None) -> None:
        self._waiting -= 1
        if self._waiting <= _BATCHES_MAX // 2:
            self._resume("commits")

    def _not_stored(self, failure: Failure) -> None:
        # The queue is closed for good: the relay stops.  The position stays where it was.
        text = f"not stored, to be read again: {failure.getErrorMessage()}"
        self._reception.warn("not-stored", text)
        self.trouble = text
        self.stop()

    # Pausing and ending.

    def _pause(self, reason: str) -> None:
        if not self._pauses and self.is_reading:
            self._reactor.removeReader(self)
        self._pauses.add(reason)
        self._is_live = False

    def _resume(self, reason: str) -> None:
        if reason in self._pauses:
            self._pauses.discard(reason)
            if not self._pauses and self.is_reading:
                self._reactor.addReader(self)

    def _fail(self, error: OSError) -> None:
        self.trouble = f"cannot read {self._device}: {error.strerror}; restart the relay"
        self._reception.warn("read", self.trouble)
        self.stop()

    def _close(self) -> None:
        if self.is_reading:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1
