from __future__ import annotations

from pathlib import Path

import pytest

from relay.service.configuration.effective import (
    Effective,
    Entry,
    changed_of,
    default_of,
    effective,
)
from relay.service.configuration.file import examine_file
from relay.service.configuration.keys import keys_of
from relay.service.configuration.model import Configuration
from relay.service.kinds import KINDS

TOKEN = "99999999-8888-7777-6666-555555555555"
TEXT = """
[relay]
state_dir = "state"
hops_max = 16
[sources.in]
listen = "unixgram:log.sock"
socket_mode = 0o600
[destinations.out]
connect = "https://joe:pw@es/x?key=y"
headers = { X-Scope-OrgID = "tenant" }
rewrite = { mode = "cee", token_file = "token" }
[alerts]
webhook = "https://hooks.example.com/secret"
program = ["told", "--password", "pw"]
[[watch]]
id = "a"
counts_as = "error"
[apps.one]
token_file = "token"
"""


def shown(folder: Path, text: str) -> Effective:
    (folder / "relay.toml").write_text(text)
    (folder / "token").write_text(TOKEN)
    found = examine_file(str(folder / "relay.toml"), KINDS).configuration
    assert found is not None
    return effective(found, KINDS)


def entries(found: Effective, *path: str) -> dict[str, Entry]:
    return {
        entry.key: entry
        for section in found.sections
        if section.path == path
        for entry in section.entries
    }


def test_given_values_have_their_place_and_defaults_none(tmp_path: Path) -> None:
    relay = entries(shown(tmp_path, TEXT), "relay")
    assert relay["state_dir"].value == str(tmp_path / "state")
    assert relay["state_dir"].where == f"{tmp_path}/relay.toml:3"
    default = relay["queue_bytes_max"]
    assert (default.value, default.where, default.note) == ("4 GiB", "", "")


def test_defaults_that_depend_on_others_have_their_values(tmp_path: Path) -> None:
    found = shown(tmp_path, TEXT.replace("hops_max = 16", 'name = "x"\nqueue_bytes_max = "1 GiB"'))
    assert entries(found, "relay")["reserve_bytes"].value == 2**30 // 20
    assert entries(found, "relay")["pending_bytes_max"].value == "32 MiB"
    assert entries(found, "destinations", "out")["sources"].value is None
    text = TEXT.replace("https://joe:pw@es/x?key=y", "http://es/x")
    sources = entries(shown(tmp_path, text), "destinations", "out")["sources"]
    assert (sources.value, sources.note) == (["in"], "all")


def test_relative_paths_and_urls_are_absolute(tmp_path: Path) -> None:
    found = shown(tmp_path, TEXT)
    assert entries(found, "sources", "in")["listen"].value == f"unixgram://{tmp_path}/log.sock"
    out = entries(found, "destinations", "out")
    assert out["rewrite"].value == {"mode": "cee", "token_file": f"{tmp_path}/token"}
    program = entries(found, "alerts")["program"].value
    assert program == [f"{tmp_path}/told", "--password", "MASKED"]
    assert entries(found, "apps", "one")["token_file"].value == f"{tmp_path}/token"


def test_secrets_are_masked(tmp_path: Path) -> None:
    found = shown(tmp_path, TEXT + f'[filters.x]\nmsg = "{TOKEN}"\n')
    out = entries(found, "destinations", "out")
    assert out["connect"].value == "https://MASKED@es/x?key=MASKED"
    assert out["headers"].value == {"X-Scope-OrgID": "MASKED"}
    assert entries(found, "alerts")["webhook"].value == "https://hooks.example.com/MASKED"
    assert entries(found, "filters", "x")["msg"].value == "MASKED"


def test_a_secret_under_an_unknown_name_is_masked(tmp_path: Path) -> None:
    text = TEXT.replace("hops_max = 16", 'pass_word = "hunter2"').replace(
        "[relay]", "top = 1\n[relay]"
    )
    found = shown(tmp_path, text)
    assert entries(found, "relay")["pass_word"].value == "MASKED"
    assert entries(found)["top"].value == "MASKED"


def test_what_is_changed(tmp_path: Path) -> None:
    found = changed_of(shown(tmp_path, TEXT))
    assert list(entries(found, "relay")) == ["state_dir"]
    assert list(entries(found, "sources", "in")) == ["listen", "socket_mode"]
    assert list(entries(found, "watch")) == ["id", "counts_as"]


def test_permissions_are_said_to_be_octal(tmp_path: Path) -> None:
    mode = entries(shown(tmp_path, TEXT), "sources", "in")["socket_mode"]
    assert (mode.value, mode.form) == (0o600, "permissions")


@pytest.mark.parametrize(
    "wrong", ["sources = 3", "[sources]\nx = 3", "[[tests]]\nx = 1", "web = 1"]
)
def test_what_is_wrong_is_shown_as_far_as_it_goes(wrong: str, tmp_path: Path) -> None:
    assert shown(tmp_path, wrong + "\n").sections[0].path == ("relay",)


def test_without_a_file_there_is_nothing_to_show() -> None:
    assert effective(Configuration(), KINDS) == Effective((), [])


def test_defaults_of_all_keys_can_be_told() -> None:
    for kind in (*KINDS.sources, *KINDS.destinations):
        for key in kind.keys.values():
            value, note = default_of(key)
            assert value is not None or note
    assert default_of(keys_of(Configuration)["queue_bytes_max"]) == ("4 GiB", "")
    assert default_of(keys_of(Configuration)["name"]) == (None, "host name")
