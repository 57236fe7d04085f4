"""What the page shows each second: the status document, without what it has no place for.

Foreign text was made printable where the document is assembled; the page treats all of it as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from relay.model.clock import Now
from relay.model.counters.peers import PeerCounters, PeerTable
from relay.model.text import Document, printable

_SHOWN_MAX = 10
_ENDED_MAX = 20
_FLEET_MAX = 100
_SAMPLE_SECONDS = 5.0
_SILENT_SECONDS = 300.0
_LEFT_OUT = {"latencies", "stored_seconds", "apps", "connections_closed", "datagrams_rejected"}
_PASSED_ON = (
    *("name", "version", "uptime_seconds", "degraded", "admission", "rates", "orphans"),
    *("certificates", "damaged_files", "alerts", "watch"),
)


class Senders:
    """Finds the peers that send most, and those that have sent much and are silent now.

    Rates are those between two looks that are at least 5 s apart.

    Args:
        tables: Peers by source.
        elapsed: Seconds on a clock that is never set.
    """

    def __init__(self, tables: Mapping[str, PeerTable], elapsed: Callable[[], float]) -> None:
        self._tables = tables
        self._elapsed = elapsed
        self._looked_at = float("-inf")
        self._counts: dict[tuple[str, str], int] = {}
        self._found: Document = {"top": [], "silent": []}

    def report(self) -> Document:
        """At most 10 of each, as of a few seconds ago."""
        now = self._elapsed()
        if now - self._looked_at >= _SAMPLE_SECONDS:
            self._look(now)
        return self._found

    def _look(self, now: float) -> None:
        peers = {
            (source, name): peer for source, table in self._tables.items() for name, peer in table
        }
        seconds, before = now - self._looked_at, self._counts
        self._counts = {key: peer.records for key, peer in peers.items()}
        self._looked_at = now
        # After a long time without anybody who looks there is no rate of now.
        rates = {
            key: (count - before[key]) / seconds if key in before and seconds < 60 else 0.0
            for key, count in self._counts.items()
        }

        def shown(key: tuple[str, str], peer: PeerCounters) -> Document:
            return {
                "source": key[0],
                "peer": printable(key[1]),
                "per_second": round(rates[key], 2),
                "records": peer.records,
                "idle_seconds": round(max(0.0, now - peer.last_seen), 1),
                "last_error": peer.last_error,
            }

        by_rate = sorted(peers, key=lambda key: (rates[key], self._counts[key]), reverse=True)
        silent = [key for key, each in peers.items() if now - each.last_seen >= _SILENT_SECONDS]
        silent.sort(key=lambda key: self._counts[key], reverse=True)
        self._found = {
            "top": [shown(key, peers[key]) for key in by_rate[:_SHOWN_MAX]],
            "silent": [shown(key, peers[key]) for key in silent[:_SHOWN_MAX]],
            "count": len(peers),
        }


class LiveView:
    """Makes the events of the page.

    Args:
        status: The status document.
        totals: Counters of all sources and destinations by name, as charts show them.
        flows: Sources of each destination, by their ids.
        has_actions: Somebody may act, with a token.
    """

    def __init__(
        self,
        status: Callable[[], Document],
        totals: Callable[[], Mapping[str, int]],
        senders: Senders,
        flows: Mapping[str, Sequence[str]],
        *,
        now: Now,
        has_actions: bool,
    ) -> None:
        self._status, self._totals, self._senders = status, totals, senders
        self._flows = flows
        self._now = now
        self._has_actions = has_actions

    def document(self) -> Document:
        """For JSON."""
        status = self._status()
        return {
            "at": round(self._now(), 3),
            "actions": self._has_actions,
            **{key: status[key] for key in _PASSED_ON if key in status},
            "fleet": _worst(status.get("fleet", [])),
            "fleet_count": len(status.get("fleet", [])),
            "alerts_ended": status.get("alerts_ended", [])[:_ENDED_MAX],
            "totals": dict(self._totals()),
            "senders": self._senders.report(),
            "sources": [_shown(report) for report in status["sources"]],
            "destinations": [
                {**_shown(report), "sources": list(self._flows.get(report["id"], ()))}
                for report in status["destinations"]
            ],
        }

    def event(self) -> bytes:
        """One line of JSON."""
        return msgspec.json.encode(self.document())


def _shown(report: Document) -> Document:
    return {key: value for key, value in report.items() if key not in _LEFT_OUT}


def _worst(fleet: Sequence[Document]) -> list[Document]:
    """The relays that the page has room for, those that are not well first."""
    return sorted(fleet, key=lambda member: bool(member["state"] == "ok"))[:_FLEET_MAX]
