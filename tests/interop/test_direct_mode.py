"""rsyslog's omrelp to a source in direct mode: at least once, whatever becomes of the receiver."""

from __future__ import annotations

from pathlib import Path

from tests.engines.direct import answers, kafka, receiver
from tests.interop.lab import Lab
from tests.interop.messages import messages
from tests.interop.test_relp_in import omrelp
from tests.plain_senders import feed_stream
from tests.processes import free_port, running_programs, wait_until


def test_a_receiver_that_is_killed_loses_nothing_of_rsyslog(lab: Lab, tmp_path: Path) -> None:
    with running_programs() as programs:
        engine = kafka(programs, tmp_path / "engine")
        feed, relp = free_port(), free_port()
        relay = receiver(programs, tmp_path / "receiver", engine, relp)
        omrelp(lab, feed, relp)
        sent = messages(2000)
        feed_stream(feed, sent[:1000])
        wait_until(lambda: answers(relay)["acknowledged_records"], "something is in the log")
        relay.kill()
        relay.start()
        feed_stream(feed, sent[1000:])
        wait_until(lambda: {*sent} <= {payload for *_, payload in engine.records()}, "all is there")
        assert all(not lineage for lineage, *_ in engine.records())
