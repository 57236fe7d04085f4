"""`syslogrelay bundle`: secrets and messages of a relay are in none, and it needs no relay."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import tarfile
from pathlib import Path

from tests.certificate_files import make_certificate_files
from tests.end_to_end.test_command_line import PROGRAM
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

TOKEN = "99999999-8888-7777-6666-555555555555"
SECRETS = {
    "token": TOKEN,
    "app.token": "app-token-of-somebody",
    "web.token": "web-token-of-somebody",
    "password": "password-of-somebody",
    "hook.token": "hook-token-of-somebody",
    "hash.key": "key-of-hashes-of-somebody",
}
MESSAGE = "the eagle lands at noon"
HEADER, HOOK, ARGUMENT = "tenant-of-somebody", "hook-of-somebody", "argument-of-somebody"


def relay_with_secrets(programs: Programs, folder: Path) -> RelayProcess:
    """Secrets are everywhere that they can be, and messages in queues, quarantines and the log."""
    folder.mkdir()
    files = make_certificate_files(folder / "tls")
    for name, secret in SECRETS.items():
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    port, closed = free_port(), free_port()
    relay = RelayProcess.started(
        programs,
        folder,
        sources={
            "tcp": {
                "listen": f"tcp://127.0.0.1:{port}",
                "authorise": ["token"],
                "unauthorised": "quarantine",
            },
            "tls": {
                "listen": f"tls://127.0.0.1:{free_port()}",
                "certificate": str(files.server_certificate),
                "private_key": str(files.server_key),
                "trusted_ca": str(files.ca),
            },
        },
        destinations={
            "away": {
                "connect": f"http://127.0.0.1:{closed}/{TOKEN}?key=query-of-somebody",
                "user": "joe",
                "password_file": "password",
                "headers": {"X-Scope": HEADER},
                "rewrite": [{"hash": ["ipv4"], "key_file": "hash.key", "in": ["MESSAGE"]}],
            },
            "cee": {
                "connect": f"tcp://127.0.0.1:{closed}",
                "rewrite": {"mode": "cee", "token_file": "token"},
            },
            "run": {
                "connect": "program:///bin/sh",
                "arguments": ["-c", f"cat >&2 # --password={ARGUMENT}"],
            },
        },
        apps={"one": {"token_file": "app.token"}},
        filters={"never": {"msg": f"x{TOKEN}"}},
        web={"listen": f"http://127.0.0.1:{free_port()}", "token_file": "web.token"},
        alerts={
            "webhook": f"http://127.0.0.1:{closed}/{HOOK}",
            "webhook_token_file": "hook.token",
        },
        relay={"log_level": "debug"},
    )
    app = SECRETS["app.token"].encode()
    plain = b'<13>1 - host app - - - @cee: {"message": "%s"}' % MESSAGE.encode()
    known = b'<13>1 - host app - - - @cee: {"logsene-app-token":"%s","message":"%s"}' % (
        app,
        MESSAGE.encode(),
    )
    with socket.create_connection(("127.0.0.1", port)) as sender:
        for frame in (known, plain):
            sender.sendall(b"%d %s" % (len(frame), frame))
        sender.sendall(MESSAGE.encode())  # no frame: the log quotes it
        wait_until(lambda: "eagle" in relay.log(), "a quotation of the message is in the log")
    return relay


def bundle(relay: RelayProcess, folder: Path) -> dict[str, str]:
    """The content of each file of a bundle, by its name."""
    path = folder / "bundle.tar.gz"
    arguments = ["-c", str(relay.config_path), "-o", str(path), "--yes"]
    done = subprocess.run(
        [PROGRAM, "bundle", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.removeprefix("bundle/")] = file.read().decode()
    path.unlink()
    return found


def leaks(found: dict[str, str], folder: Path) -> list[tuple[str, str]]:
    """Secrets and messages that are in files of a bundle."""
    hidden = [*SECRETS.values(), HEADER, HOOK, ARGUMENT, "query-of-somebody", "eagle", "noon"]
    for key in folder.glob("tls/*key*.pem"):
        hidden += [line for line in key.read_text().splitlines() if "-----" not in line]
    return [(name, secret) for name, text in found.items() for secret in hidden if secret in text]


def test_a_bundle_of_a_running_relay_has_neither_secrets_nor_messages(
    programs: Programs, tmp_path: Path
) -> None:
    folder = tmp_path / "relay"
    relay = relay_with_secrets(programs, folder)
    found = bundle(relay, tmp_path)
    assert leaks(found, folder) == []
    failed = {name for name in found if name.endswith(".failed")}
    assert failed <= {"journal.txt.failed"}
    assert '"id": "away"' in found["status.json"]
    assert "MASKED" in found["config.toml"] and "MASKED" in found["config-running.toml"]
    assert "source tcp: " in found["log.txt"]
    assert "Max open files" in found["process.txt"]
    assert "\ntwisted " in found["versions.txt"]
    assert "queue/data.mdb" in found["files.txt"]
    assert '"sources.tls.certificate"' in found["certificates.json"]
    for name in found:
        assert name in found["README.txt"] or name == "README.txt"
    if os.environ.get("BUNDLE_CYCLES"):  # `make torture` has the time
        os.kill(relay.pid, signal.SIGSTOP)
        try:
            found = bundle(relay, tmp_path)
        finally:
            os.kill(relay.pid, signal.SIGCONT)
        assert "is stopped by a signal" in found["status.json.failed"]
        assert "## threads" in found["process.txt"]
        relay.stop()
        found = bundle(relay, tmp_path)
        assert leaks(found, folder) == []
        assert "no relay is running" in found["status.json.failed"]
        assert '"received"' in found["audit.json"]
