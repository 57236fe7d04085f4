from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli.main import main
from tests.queue_files import opened, put

GOOD = """
[sources.in]
listen = "unixgram:log.sock"
[destinations.one]
connect = "udp://127.0.0.1:514"
[destinations.two]
connect = "file:received.log"
"""


@pytest.fixture(autouse=True)
def not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def check(path: Path) -> Result:
    return CliRunner().invoke(main, ["check", str(path)])


def test_a_good_file_and_nothing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(GOOD)
    result = check(path)
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        f"{path}: ok: 1 source, 2 destinations\n",
        "",
    )
    assert list(tmp_path.iterdir()) == [path]


def test_root_is_told_that_it_sees_more_than_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(GOOD)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    result = check(path)
    assert result.exit_code == 0
    assert result.stderr == (
        f"{path}: warning: checked as root, who may read every file; as the relay's user: "
        f"runuser -u syslogrelay -- syslogrelay check {path}\n"
    )


def test_every_problem_is_a_line_on_standard_error(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(GOOD.replace("udp:", "upd:").replace("[sources.in]", "[sources.in]\nx = 1"))
    result = check(path)
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{path}:3: sources.in.x: unknown key")
    assert lines[1].startswith(f"{path}:6: destinations.one.connect: unknown scheme 'upd'")


def test_a_missing_file_is_no_wrong_one(tmp_path: Path) -> None:
    result = check(tmp_path / "none")
    assert (result.exit_code, result.stderr) == (
        2,
        f"syslogrelay: {tmp_path}/none: cannot read it: No such file or directory\n",
    )


def test_a_key_that_has_no_effect_any_more_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text("[relay]\ndrain_process = true\n" + GOOD)
    result = check(path)
    assert (result.exit_code, result.stdout) == (0, f"{path}: ok: 1 source, 2 destinations\n")
    assert result.stderr.startswith(f"{path}:2: warning: relay.drain_process: has no effect")


def test_what_is_hardly_meant_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(GOOD + 'template = "$HOTS"\n')
    result = check(path)
    assert (result.exit_code, result.stdout) == (0, f"{path}: ok: 1 source, 2 destinations\n")
    assert result.stderr == (
        f"{path}:8: warning: destinations.two.template: there is no macro HOTS, did you mean "
        "'HOST'? it is empty unless messages bring a pair of this name\n"
    )


def test_a_file_where_a_directory_or_a_socket_goes_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    for name in ("state", "log"):
        (tmp_path / name).write_text("")
    file.write_text(
        f"""
        [relay]
        state_dir = "{tmp_path}/state"
        [sources.local]
        listen = "unixgram://{tmp_path}/log"
        [destinations.out]
        connect = "relp://127.0.0.1:20514"
        """
    )
    result = check(file)
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert f"{tmp_path}/state is a file, and has to be a directory: move it away" in first
    assert "sources.local: " in second and "this path is a file, not a socket" in second


def test_what_refuses_the_start_is_a_problem_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('[relay]\nstate_dir = "/proc/nope"\n' + GOOD)
    result = check(file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "queue /proc/nope/queue would lie on proc, where no files can be made" in result.stderr
    monkeypatch.setattr("relay.service.queue.state_dir.file_system_of", lambda path, text: "tmpfs")
    text = f'[relay]\nstate_dir = "{tmp_path}/state"\n'
    file.write_text(text + GOOD)
    result = check(file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"queue {tmp_path}/state/queue would lie on tmpfs, which is gone after" in result.stderr
    file.write_text(text + "allow_volatile_state = true\n" + GOOD)
    assert check(file).exit_code == 0
    assert list(tmp_path.iterdir()) == [file]


def test_problems_are_in_the_order_of_their_lines_and_warnings_follow(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(
        """[relay]
drain_process = true
[destinations.one]
connect = "udp://127.0.0.1:514"
rewrite = { mode = "cee", token_file = "none" }
[destinations.two]
connect = "upd://127.0.0.1:514"
[sources.in]
listen = "unixgram:log.sock"
x = 1
"""
    )
    result = check(path)
    assert (result.exit_code, result.stdout) == (1, "")
    *problems, warning = result.stderr.splitlines()
    assert [line.removeprefix(f"{path}:").partition(":")[0] for line in problems] == [
        "5",
        "7",
        "10",
    ]
    assert warning.startswith(f"{path}:2: warning: relay.drain_process: has no effect")
    path.write_text("[relay]\ndrain_process = true\nstate_dir = '/proc/nope'\n" + GOOD)
    problem, warning = check(path).stderr.splitlines()
    assert "would lie on proc" in problem
    assert "warning: relay.drain_process" in warning


def test_the_state_is_examined_on_request(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    state = tmp_path / "state"
    path.write_text(f'[relay]\nstate_dir = "{state}"\n' + GOOD)
    examined = CliRunner().invoke(main, ["check", "--state", str(path)])
    assert examined.exit_code == 0
    assert examined.stdout.splitlines()[1:] == [
        f"{path}: queue {state}/queue: there is none yet; a start makes it"
    ]
    with opened(state / "queue"):
        pass
    for _ in range(2):  # both snapshots
        put(state / "queue", "meta", b"format", b"2")
    refused = CliRunner().invoke(main, ["check", "--state", str(path)])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"queue {state}/queue has format '2', of a newer version" in refused.stderr


def test_two_checks_at_a_time_are_refused(tmp_path: Path) -> None:
    refused = CliRunner().invoke(main, ["check", "--state", "--connect", str(tmp_path)])
    assert refused.exit_code == 2
    assert "give one at a time" in refused.stderr


def test_problems_and_failed_tests_of_included_files_name_these(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    included = tmp_path / "more.toml"
    path.write_text('include = ["more.toml"]\n' + GOOD)
    included.write_text('[[tests]]\nframe = "<13>1 - - - - - - x"\nexpect.two = false\n')
    result = check(path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{included}:1: tests[0]: two: ")
    included.write_text("[filters.x]\nmsgg = 1\n")
    assert check(path).stderr.startswith(f"{included}:2: filters.x.msgg: unknown key")
    included.write_text("")
    assert check(path).exit_code == 0
