"""Take the picture of the page in README.md, from a real relay with a day of simulated history.

    python -m docs.page_picture [FOLDER]

With a folder, pictures of the whole page go there as well: light, dark, and as wide as a phone.
"""

from __future__ import annotations

import math
import random
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from relay.observe.web.history import SAMPLE_SECONDS, SLOTS, History, Sample
from tests.browser import Browser, opened_browser
from tests.interop.chromium import fetched
from tests.processes import free_port, running_programs
from tests.relay_process import RelayProcess

PICTURE = Path(__file__).with_name("page.png")
_SECONDS = 25.0
_TEXTS = (
    *[(86, "sshd", "Accepted publickey for deploy from 192.0.2.14 port 50222 ssh2")] * 6,
    *[(30, "nginx", '198.51.100.7 - - "GET /shop/cart HTTP/2.0" 200 5120')] * 12,
    *[(30, "nginx", '198.51.100.9 - - "POST /api/orders HTTP/2.0" 201 312')] * 8,
    *[(29, "systemd", "Started daily cleanup of temporary directories")] * 3,
    *[(28, "postgres", "checkpoints are occurring too frequently")] * 2,
    (11, "payments", "timeout of the card gateway after 3000 ms"),
)


def write_history(path: Path, now: float) -> None:
    """A day with more traffic at noon, and a bad half hour."""
    history = History.open(str(path)).history
    noise = random.Random(7)
    for number in range(SLOTS - 1, 0, -1):
        at = now - number * SAMPLE_SECONDS
        hour = (at / 3600) % 24
        level = 60 + 45 * math.sin((hour - 8) / 24 * 2 * math.pi) + noise.gauss(0, 5)
        bad = 3.0 if 4.0 < number / 360 < 4.5 else 0.0
        messages = max(5, int(level * SAMPLE_SECONDS))
        warnings, errors = int(messages * 0.06), int(messages * (0.02 + 0.04 * bad))
        severities = [0, 0, errors // 10, errors - errors // 10, warnings]
        severities += [messages // 9, messages - warnings - errors - messages // 9, 0]
        drops = int(bad * noise.random() * 8)
        counts = [messages, warnings, errors, drops, messages, *severities]
        outage = max(0, 1800 - abs(number - 3000) * 12) * 10  # five minutes up, and down again
        history.add(Sample(at, SAMPLE_SECONDS, counts, outage, 100 * outage))
    history.close()


class Senders(threading.Thread):
    """A few hosts that send by UDP and TCP until told to stop."""

    def __init__(self, udp: int, tcp: int) -> None:
        super().__init__(daemon=True)
        self._udp, self._tcp = udp, tcp
        self.over = threading.Event()

    def run(self) -> None:
        noise = random.Random(11)
        stream = socket.create_connection(("127.0.0.1", self._tcp))
        while not self.over.wait(0.1):
            for _ in range(noise.randrange(4, 9)):
                priority, name, text = noise.choice(_TEXTS)
                line = f"<{priority}>Nov 30 12:00:00 web-{noise.randrange(1, 4)} {name}[77]: {text}"
                host = f"127.0.0.{noise.randrange(10, 16)}"
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.bind((host, 0))
                    sender.sendto(line.encode(), ("127.0.0.1", self._udp))
                if noise.random() < 0.5:
                    stream.sendall(line.encode() + b"\n")
        stream.close()


def take(folder: Path, extra: Path | None) -> None:
    udp, tcp, web, siem = (free_port() for _ in range(4))
    url = f"http://127.0.0.1:{web}"
    state = folder / "state"
    state.mkdir(parents=True)
    write_history(state / "history.ring", time.time())
    token = folder / "admin.token"
    token.write_text("a-token-that-nobody-has-to-know")
    token.chmod(0o600)
    with (
        running_programs() as programs,
        opened_browser(fetched()) as browser,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("127.0.0.1", siem))
        RelayProcess.started(
            programs,
            folder,
            relay={"name": "logs.example.com"},
            sources={
                "switches": {"listen": f"udp://127.0.0.1:{udp}"},
                "applications": {"listen": f"tcp://127.0.0.1:{tcp}"},
            },
            destinations={
                "archive": {"connect": f"file://{folder}/archive.log"},
                "central": {"connect": f"relp://127.0.0.1:{free_port()}", "retry_seconds_max": 30},
                "siem": {"connect": f"udp://127.0.0.1:{siem}", "sources": ["switches"]},
            },
            web={"listen": url, "admin_token_file": str(token)},
        )
        senders = Senders(udp, tcp)
        senders.start()
        browser.show(width=1280, height=1150)
        browser.open(url)
        browser.wait_for("#health-text", "central")
        browser.run("document.querySelector('#span input[value=\"86400\"]').click()")
        time.sleep(_SECONDS)
        browser.picture(PICTURE)
        if extra is not None:
            extra.mkdir(parents=True, exist_ok=True)
            _more(browser, extra)
        senders.over.set()
        senders.join()


def _more(browser: Browser, folder: Path) -> None:
    for name, width, dark in (
        ("light", 1280, False),
        ("dark", 1280, True),
        ("phone", 375, False),
        ("narrow", 320, True),
    ):
        browser.show(width=width, dark=dark)
        time.sleep(2.0)
        browser.picture(folder / f"{name}.png", whole=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="r") as name:
        take(Path(name), Path(sys.argv[1]) if len(sys.argv) > 1 else None)
