from __future__ import annotations

from relay.service.reloading.live import Live


def test_a_live_mapping_has_what_there_is_at_each_look() -> None:
    items = ["a", "bb"]
    live = Live(lambda: {item: len(item) for item in items})
    assert (dict(live), len(live), live["bb"]) == ({"a": 1, "bb": 2}, 2, 2)
    items[:] = ["ccc"]
    assert list(live.items()) == [("ccc", 3)]
    assert list(live.values()) == [3]
    assert ("a" in live, "ccc" in live, live.get("a")) == (False, True, None)
