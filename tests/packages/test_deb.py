"""The .deb on a Debian 12: installed, used, upgraded, removed, purged.

`make test-packages` builds it and runs this; `make test` leaves it out, since it takes minutes.
Here systemd is not process 1, as while an image is made: its part of a start is written out as the
unit says.  test_systemd.py has the real one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packages.debian_host import DebianHost, newer, newest_package, why_not

# What systemd does before it starts the unit, and the unit's command as its user.
START = """
cd /var/lib; rm -f /tmp/relay.log
for folder in lib run log; do
    install -d -o syslogrelay -g syslogrelay /var/$folder/syslogrelay /run/syslogrelay
done
sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/syslogrelay.service > /tmp/command
groups=$(sed -n 's/^SupplementaryGroups=//p' /usr/lib/systemd/system/syslogrelay.service)
setpriv --reuid=syslogrelay --regid=syslogrelay --groups="$groups" \\
    sh -c "exec $(cat /tmp/command)" > /tmp/relay.log 2>&1 &
relay=$!
for attempt in $(seq 200); do
    grep -qs 'reads journald\\|listens on' /tmp/relay.log && break
    sleep 0.1
done
"""
STOP = "kill $relay; wait $relay || true; cat /tmp/relay.log\n"
ARRIVES = """
for attempt in $(seq 100); do
    grep -qs '{0}' /var/log/syslogrelay/messages.log && break
    sleep 0.1
done
grep '{0}' /var/log/syslogrelay/messages.log
"""


@pytest.fixture(scope="module")
def package() -> Path:
    return newest_package()


@pytest.fixture(scope="module")
def host(package: Path, tmp_path_factory: pytest.TempPathFactory) -> DebianHost:
    if reason := why_not():
        pytest.skip(reason)
    host = DebianHost.made_in(tmp_path_factory.mktemp("host"))
    host.install(package)
    return host


def test_it_is_installed(host: DebianHost) -> None:
    said = host.run("dpkg --status syslogrelay; syslogrelay --version; id syslogrelay")
    assert "Status: install ok installed" in said
    assert "(systemd-journal)" in said
    program = "/usr/lib/syslogrelay/bin/twistd syslogrelay --version"
    assert "(compiled)" in host.run(program)
    assert host.exists("/etc/systemd/system/multi-user.target.wants/syslogrelay.service")


def test_its_user_may_read_the_configuration_and_nobody_else(host: DebianHost) -> None:
    check = "syslogrelay check /etc/syslogrelay/relay.toml"
    assert ": ok: 1 source, 1 destination" in host.run(f"runuser -u syslogrelay -- {check}")
    assert "Permission denied" in host.run(f"runuser -u nobody -- {check}", succeeds=False)


def test_every_file_is_root_s_and_every_library_loads(host: DebianHost) -> None:
    odd = host.run("find /usr/lib/syslogrelay ! -user root -o -perm /022 ! -type l")
    assert odd == ""
    modules = "lmdb re2 regex msgspec zstandard zlib_ng.zlib_ng maxminddb.extension textual"
    modules += " cryptography.x509 relay.codec.lines"
    modules = modules.replace(" ", ", ")
    host.run(f"/usr/lib/syslogrelay/bin/python -c 'import {modules}'")


def test_the_hosts_own_logs_arrive_with_the_configuration_as_it_is(host: DebianHost) -> None:
    """With journald, by the journal."""
    said = host.run(
        "mkdir -p /run/systemd /run/log/journal\n"
        "chgrp systemd-journal /run/log/journal; chmod 2755 /run/log/journal\n"
        "/lib/systemd/systemd-journald &\n"
        "for attempt in $(seq 100); do [ -S /run/systemd/journal/dev-log ] || sleep 0.1; done\n"
        f"{START} sleep 1; logger --socket /run/systemd/journal/dev-log 'by the journal'\n"
        f"{ARRIVES.format('by the journal')} {STOP}"
    )
    assert "takes the journal" in said
    assert "[journald@32473 " in said


def test_without_journald_they_arrive_as_well(host: DebianHost) -> None:
    """The relay makes /dev/log, for which its user needs the right here."""
    said = host.run(
        f"chgrp syslogrelay /dev; chmod 0775 /dev\n{START} logger 'by the socket'\n"
        f"{ARRIVES.format('by the socket')} {STOP}"
    )
    assert "takes /dev/log alone: no journald runs here" in said


def test_an_upgrade_keeps_what_was_changed_and_what_was_stored(
    host: DebianHost, package: Path, tmp_path: Path
) -> None:
    before = host.run(
        "echo '# changed here' >> /etc/syslogrelay/relay.toml; ls /var/lib/syslogrelay/queue"
    )
    said = host.install(newer(package, tmp_path))
    assert "Using current old file as you requested" in said
    after = host.run(
        "tail -1 /etc/syslogrelay/relay.toml; ls -l /etc/syslogrelay/relay.toml;"
        "ls /var/lib/syslogrelay/queue; syslogrelay --version"
    )
    assert after.startswith("# changed here\n")
    assert "-rw-r----- 1 root syslogrelay" in after
    assert before in after
    assert host.exists("/etc/syslogrelay/relay.toml.dpkg-dist")
    said = host.run(
        f"chgrp syslogrelay /dev; chmod 0775 /dev\n{START} logger 'after the upgrade'\n"
        f"{ARRIVES.format('after the upgrade')} {STOP}"
    )
    assert "after the upgrade" in said


def test_removed_it_leaves_configuration_and_queue_and_nothing_else(host: DebianHost) -> None:
    host.run("dpkg --remove syslogrelay")
    for kept in ("/etc/syslogrelay/relay.toml", "/var/lib/syslogrelay/queue/data.mdb"):
        assert host.exists(kept)
    for gone in ("/usr/lib/syslogrelay", "/usr/bin/syslogrelay", "/usr/share/doc/syslogrelay"):
        assert not host.exists(gone)


def test_purged_it_leaves_what_it_has_not_made(host: DebianHost) -> None:
    host.run("echo secret > /etc/syslogrelay/client-key.pem; dpkg --purge syslogrelay")
    assert not host.exists("/var/lib/syslogrelay") and not host.exists("/var/log/syslogrelay")
    assert not host.exists("/etc/syslogrelay/relay.toml")
    assert host.exists("/etc/syslogrelay/client-key.pem")
    links = host.run("find /etc/systemd /var/lib/systemd -name '*syslogrelay*'")
    assert links == ""
