"""The .deb on a Debian 12 whose process 1 is the real systemd, under load.

`make test-packages` runs this, with 20 restarts; SYSTEMD_RESTARTS=100 takes more.  The tests go on
where the one before has ended.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.packages.booted_host import BootedHost, why_not_boot
from tests.packages.debian_host import newer, newest_package

RESTARTS = int(os.environ.get("SYSTEMD_RESTARTS", "20"))
SENDERS = Path(__file__).with_name("senders.py")
_NUMBERED = re.compile(rb"\b(?:udp|tcp|gram)-\d+$", re.MULTILINE)
_SOURCES = """
[sources.udp]
listen = "udp://127.0.0.1:514"
[sources.tcp]
listen = "tcp://127.0.0.1:514"
[sources.gram]
listen = "unixgram:///run/syslogrelay/log"
"""


@pytest.fixture(scope="module")
def package() -> Path:
    return newest_package()


@pytest.fixture(scope="module")
def host(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedHost]:
    folder = tmp_path_factory.mktemp("booted")
    if reason := why_not_boot(folder):
        pytest.skip(reason)
    host = BootedHost.made_in(folder)
    shutil.copy(SENDERS, host.root / "opt")
    try:
        host.boot()
        host.install(package)
        yield host
    finally:
        host.shut()


def arrives(host: BootedHost, text: str) -> None:
    try:
        host.wait_until(lambda: text.encode() in host.received.read_bytes(), f"{text} arrives", 30)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{host.journal()}") from error


def write_part(host: BootedHost, name: str, text: str) -> None:
    """One file of /etc/syslogrelay/conf.d."""
    (host.root / "etc/syslogrelay/conf.d" / name).write_text(text)


def write_drop_in(host: BootedHost, name: str, text: str) -> None:
    folder = host.root / "etc/systemd/system/syslogrelay.service.d"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    host.run("systemctl daemon-reload")


@contextmanager
def load(host: BootedHost, *, again_max: int = 0) -> Iterator[None]:
    """Send all the time; in the end all has to be there, and no socket of a sender was cut.

    Args:
        again_max: How many may be there twice.
    """
    before = Counter(_NUMBERED.findall(host.received.read_bytes()))
    process = host.inside("python3", "/opt/senders.py")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "sending\n"
        yield
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    result = json.loads(said)
    assert result["errors"] == [], host.said("journalctl -u syslogrelay -n 50")
    sent = {f"{kind}-{n}".encode() for kind, count in result["sent"].items() for n in range(count)}
    assert min(result["sent"].values()) > 0

    def found() -> Counter[bytes]:
        return Counter(_NUMBERED.findall(host.received.read_bytes())) - before

    host.wait_until(lambda: len(found()) >= len(sent), f"{len(sent)} messages", 60)
    assert found().keys() == sent
    assert found().total() - len(sent) <= again_max, "came twice"


def main_pid(host: BootedHost) -> str:
    return host.property_of("MainPID")


def test_it_is_active_when_it_says_so(host: BootedHost) -> None:
    assert "active (running)" in host.run("systemctl status syslogrelay")
    assert host.property_of("StatusText") not in ("", "stopping")
    assert host.run("systemctl is-enabled syslogrelay") == "enabled\n"


def test_the_hosts_own_logs_arrive_with_the_configuration_as_it_is(host: BootedHost) -> None:
    host.run("logger 'by the logger'; systemd-run --wait --quiet echo 'by a unit'")
    arrives(host, "by the logger")
    arrives(host, "by a unit")
    assert "takes the journal: journald runs here" in host.run("syslogrelay status")


def test_the_unit_exposes_little(host: BootedHost) -> None:
    assert "Overall exposure" in host.run("systemd-analyze security --threshold=20 syslogrelay")


def test_the_example_of_a_host_takes_everything_as_it_is(host: BootedHost) -> None:
    """Without certificates and token: messages wait for them in the queue."""
    folder = "/etc/syslogrelay"
    host.run(
        f"cp -p {folder}/relay.toml /tmp/relay.toml\n"
        f"cat /usr/share/doc/syslogrelay/examples/host.toml > {folder}/relay.toml\n"
        "systemctl restart syslogrelay\n"
        "logger 'into the journal'; logger --socket /run/syslogrelay/log 'into the socket'\n"
        "logger --server 127.0.0.1 --udp --port 514 'over udp'\n"
        "logger --server 127.0.0.1 --tcp --port 514 'over tcp'"
    )
    for text in ("into the journal", "into the socket", "over udp", "over tcp"):
        grep = f"syslogrelay queue grep central '{text}'"
        host.wait_until(lambda grep=grep, text=text: text in host.said(grep), f"{text} waits", 30)
    host.run(f"cat /tmp/relay.toml > {folder}/relay.toml; systemctl restart syslogrelay")


def test_a_reload_applies_a_good_file_and_refuses_a_bad_one(host: BootedHost) -> None:
    pid = main_pid(host)
    write_part(host, "load.toml", _SOURCES)
    host.run(
        "systemctl reload syslogrelay\n"
        "logger --server 127.0.0.1 --udp --port 514 'after the reload'"
    )
    arrives(host, "after the reload")
    with load(host):
        write_part(host, "wrong.toml", "[sources.wrong]\nlisten = 'nonsense://'\n")
        host.run("systemctl reload syslogrelay", succeeds=False)
        assert "nonsense" in host.run("journalctl -u syslogrelay -n 20")
        (host.root / "etc/syslogrelay/conf.d/wrong.toml").unlink()
        host.run("systemctl reload syslogrelay")
    assert "active (running)" in host.run("systemctl status syslogrelay")
    assert main_pid(host) == pid


def test_restarts_lose_nothing_and_keep_connections(host: BootedHost) -> None:
    with load(host):
        for _ in range(RESTARTS):
            pid = main_pid(host)
            host.run("systemctl restart syslogrelay; systemctl is-active syslogrelay")
            assert main_pid(host) != pid
            # The three sockets; connections and the state are not kept any longer.
            assert host.property_of("NFileDescriptorStore") == "3"


def test_an_upgrade_of_the_package_loses_nothing(
    host: BootedHost, package: Path, tmp_path: Path
) -> None:
    made = newer(package, tmp_path)
    pid = main_pid(host)
    with load(host):
        host.install(made)
        assert main_pid(host) != pid
    assert "+next" in host.run("dpkg --status syslogrelay")
    assert "active (running)" in host.run("systemctl status syslogrelay")


def restarted_by_itself(host: BootedHost, pid: str) -> None:
    host.wait_until(
        lambda: main_pid(host) not in ("0", pid) and host.property_of("ActiveState") == "active",
        "systemd has started it again",
    )


def test_a_killed_relay_is_started_again_with_its_sockets(host: BootedHost) -> None:
    """Messages of the time without it are there."""
    pid = main_pid(host)
    host.run(
        "kill -KILL $(systemctl show --value --property MainPID syslogrelay)\n"
        "logger --server 127.0.0.1 --udp --port 514 'while nobody was there'\n"
        "logger --socket /run/syslogrelay/log 'in the unix socket'\n"
        "logger --server 127.0.0.1 --tcp --port 514 'over a connection that waits'\n"
    )
    restarted_by_itself(host, pid)
    for text in ("while nobody was there", "in the unix socket", "over a connection that waits"):
        arrives(host, text)


def test_a_relay_that_hangs_is_started_again_by_the_watchdog(host: BootedHost) -> None:
    write_drop_in(host, "watchdog.conf", "[Service]\nWatchdogSec=4\n")
    host.run("systemctl restart syslogrelay")
    try:
        pid = main_pid(host)
        host.run(f"kill -STOP {pid}; logger --server 127.0.0.1 --udp --port 514 'while it hung'")
        restarted_by_itself(host, pid)
        arrives(host, "while it hung")
        assert "Watchdog timeout" in host.run("journalctl -u syslogrelay")
    finally:
        (host.root / "etc/systemd/system/syslogrelay.service.d/watchdog.conf").unlink()
        host.run("systemctl daemon-reload; systemctl restart syslogrelay")


def test_a_secret_that_only_root_can_read_comes_as_a_credential(host: BootedHost) -> None:
    folder = host.root / "etc/syslogrelay/secret"
    folder.mkdir(mode=0o700)
    (folder / "central.token").write_text("0123-secret-4567\n")
    (folder / "central.token").chmod(0o600)
    write_drop_in(
        host,
        "secret.conf",
        "[Service]\nLoadCredential=central.token:/etc/syslogrelay/secret/central.token\n",
    )
    write_part(
        host,
        "secret.toml",
        '[destinations.secret]\nconnect = "file:///var/log/syslogrelay/secret.log"\n'
        'rewrite = { mode = "cee", token_file = "$CREDENTIALS_DIRECTORY/central.token" }\n',
    )
    host.run("systemctl restart syslogrelay; logger 'with a secret'")
    written = host.root / "var/log/syslogrelay/secret.log"
    host.wait_until(
        lambda: (
            written.exists()
            and any(
                "with a secret" in line and "0123-secret-4567" in line
                for line in written.read_text().splitlines()
            )
        ),
        "a message with the token",
    )
    host.run("systemctl reload syslogrelay")
    host.run("runuser -u syslogrelay -- cat /etc/syslogrelay/secret/central.token", succeeds=False)
    (host.root / "etc/syslogrelay/conf.d/secret.toml").unlink()
    host.run("systemctl reload syslogrelay")


def test_a_stop_leaves_the_queue_and_no_socket(host: BootedHost) -> None:
    host.run("systemctl stop syslogrelay")
    assert host.property_of("NFileDescriptorStore") == "0"
    assert host.property_of("Result") == "success"
    assert ":514" not in host.run("ss --numeric --listening --tcp --udp")
    assert not Path(f"/proc/{host.pid}/root/run/syslogrelay").exists()
    assert host.exists("/var/lib/syslogrelay/queue/data.mdb")
    assert host.run("syslogrelay queue verify")


def test_the_socket_unit_keeps_connections_over_restarts(host: BootedHost) -> None:
    udp_and_gram = _SOURCES.replace("tcp://127.0.0.1:514", "systemd://syslogrelay.socket")
    write_part(host, "load.toml", udp_and_gram)
    host.run("systemctl enable --now syslogrelay.socket; systemctl start syslogrelay")
    with load(host):
        for _ in range(2):
            host.run("systemctl restart syslogrelay")
    host.run("systemctl stop syslogrelay")
    assert ":514" in host.run("ss --numeric --listening --tcp")
    host.run("logger --server 127.0.0.1 --tcp --port 514 'starts the relay'")
    arrives(host, "starts the relay")
    host.run("systemctl disable --now syslogrelay.socket")


def test_the_drop_in_makes_it_syslog_service(host: BootedHost) -> None:
    """The four steps of its comment."""
    write_part(host, "load.toml", '[sources.journal]\nlisten = "systemd://syslog.socket"\n')
    source = Path(__file__).parents[2] / "deploy/syslog.conf"
    write_drop_in(host, "syslog.conf", source.read_text())
    (host.root / "etc/systemd/journald.conf").write_text("[Journal]\nForwardToSyslog=yes\n")
    host.run(
        "systemctl stop syslogrelay; systemctl daemon-reload; systemctl reenable syslogrelay\n"
        "systemctl restart systemd-journald; systemctl start syslogrelay\n"
        "systemctl is-active syslog.service syslog.socket\n"
        "logger 'forwarded by journald'"
    )
    host.wait_until(
        lambda: host.received.read_bytes().count(b"forwarded by journald") == 2,
        "once from the journal, once forwarded",
    )
    # Or its socket would start a service that the next test removes.
    (host.root / "etc/systemd/journald.conf").write_text("")
    host.run(
        "systemctl stop syslogrelay syslog.socket; rm /etc/syslogrelay/conf.d/load.toml\n"
        "rm /etc/systemd/system/syslogrelay.service.d/syslog.conf; systemctl daemon-reload\n"
        "systemctl reenable syslogrelay; systemctl restart systemd-journald\n"
        "systemctl start syslogrelay"
    )


def test_removed_and_purged_it_is_gone(host: BootedHost) -> None:
    host.run("systemctl restart syslogrelay; dpkg --purge syslogrelay")
    assert host.property_of("LoadState") == "not-found"
    assert host.said("systemctl --failed --plain --no-legend") == ""
