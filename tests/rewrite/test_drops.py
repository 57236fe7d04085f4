from __future__ import annotations

from relay.model.counters.samples import SAMPLES_MAX, Samples
from relay.rewrite.drops import Drops
from relay.wire.parse import parse


def test_what_is_dropped_is_counted_and_the_last_are_kept_as_they_came() -> None:
    drops = Drops()
    drops.samples = Samples(lambda: 7.0)
    frames = [b"<13>Oct 11 22:14:15 host app: %d" % number for number in range(50)]
    changed = [parse(frame)._replace(msg=b"changed") for frame in frames]
    drops.drop("noise", changed, "192.0.2.1:9")
    drops.drop("sampled", [])
    assert drops == {"noise": 50}
    ((reason, kept),) = drops.samples
    assert [each.start for each in kept] == frames[-SAMPLES_MAX:]
    assert (reason, kept[0].peer, kept[0].at) == ("noise", "192.0.2.1:9", 7.0)


def test_without_a_place_for_samples_it_only_counts() -> None:
    drops = Drops()
    drops.drop("noise", [parse(b"<13>x")])
    assert drops == {"noise": 1}
