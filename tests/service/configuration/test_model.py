from __future__ import annotations

import pytest

from relay.model.token import Token
from relay.service.configuration.model import (
    ID,
    AppConfiguration,
    Configuration,
    RewriteConfiguration,
    UnreadToken,
    Url,
)
from tests.configurations import new_destination, new_source
from tests.written import choice


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (Url("tcp", "127.0.0.1", 514), "tcp://127.0.0.1:514"),
        (Url("udp", "::1", 514), "udp://[::1]:514"),
        (Url("relp+tls", "", 20515), "relp+tls://:20515"),
        (Url("unixgram", path="/run/log"), "unixgram:///run/log"),
        (Url("journald", is_bare=True), "journald://"),
    ],
)
def test_a_url_reads_as_it_is_written(url: Url, text: str) -> None:
    assert str(url) == text


def test_values_cannot_be_changed_after_the_start() -> None:
    source = new_source(id="a", listen=Url("udp", port=514))
    with pytest.raises(AttributeError):
        source.frame_bytes_max = 1  # type: ignore[misc]


def test_nobody_has_to_ask_for_limits_of_disk_and_memory() -> None:
    defaults = Configuration(name="a", state_dir="/var/lib/a")
    limits = (defaults.queue_bytes_max, defaults.pending_max, defaults.quarantine_bytes_max)
    assert all(0 < limit <= 4 * 2**30 for limit in limits)
    assert defaults.min_free_bytes > 0  # the disk is not filled even if it is small


def test_what_is_to_be_masked_is_every_token_that_could_be_read() -> None:
    missing = UnreadToken("the file is empty", file="/etc/token")
    rewrite = RewriteConfiguration("cee", missing, tokens=(choice({}, Token(b"of-a-destination")),))
    configuration = Configuration(
        name="a",
        state_dir="/var/lib/a",
        apps=(AppConfiguration(id="shop", tokens=(Token(b"of-an-app"),)),),
        destinations=(
            new_destination(id="out", connect=Url("file", path="/x"), sources=(), rewrite=rewrite),
        ),
    )
    assert configuration.secrets == [b"of-an-app", b"of-a-destination"]


@pytest.mark.parametrize("id", ["a", "A1", "0", "web-1.example_x", "x" * 63])
def test_good_ids(id: str) -> None:
    assert ID.read(id) == id


@pytest.mark.parametrize("id", ["", "-a", ".a", "a b", "ä", "a/b", "x" * 64, "a\n"])
def test_bad_ids(id: str) -> None:
    with pytest.raises(ValueError, match="at most 63 ASCII letters, digits"):
        ID.read(id)
