"""What `syslogrelay import` makes of rsyslog's configurations does what rsyslog does with them.

Both get the same 200 messages, half of them as RFC 3164 and half as RFC 5424, and have to write the
same files, byte for byte and in the same order, but for what docs/moving.md says.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner

from relay.cli.main import main
from tests.interop.lab import Lab
from tests.interop.messages import legacy_messages, messages
from tests.plain_senders import feed_lines
from tests.processes import free_port, wait_until
from tests.relay_process import RelayProcess

CONFIGURATIONS = Path(__file__).parent / "rsyslog_configurations"


def mixed_messages() -> list[bytes]:
    """100 of each form, in turn; programs and hosts differ."""
    found = []
    for number, (new, old) in enumerate(zip(messages(100), legacy_messages(100), strict=True)):
        program = (b"sshd", b"nginx", b"postfix/smtpd", b"app")[number % 4]
        host = (b"web", b"db-1", b"mx")[number % 3]
        found.append(new.replace(b" web-1.example.com app ", b" %s %s " % (host, program)))
        found.append(old.replace(b" mymachine su[", b" %s %s[" % (host, program)))
    return found


def written(folder: Path) -> dict[str, list[str]]:
    """The lines of each file below `folder`."""
    return {
        str(path.relative_to(folder)): path.read_text(errors="replace").splitlines()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@contextmanager
def receiver(arrived: Path) -> Iterator[int]:
    """A TCP port whose bytes go to a file, without counts of octets."""
    server = socket.create_server(("127.0.0.1", 0))

    def receive() -> None:
        connection, _ = server.accept()
        with connection, arrived.open("wb", buffering=0) as file:
            while data := connection.recv(65536):
                file.write(data)

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.close()


def imported(config: Path, folder: Path) -> dict[str, dict[str, dict[str, object]]]:
    """The tables of the imported configuration."""
    output = folder / "relay.toml"
    result = CliRunner().invoke(main, ["import", str(config), "-o", str(output)])
    assert result.exit_code in (0, 1), result.output
    assert ": not supported: " not in result.output
    return tomllib.loads(output.read_text())


class Pair:
    """rsyslog and a relay with the same configuration, each with a folder for its files."""

    def __init__(self, lab: Lab, folder: Path, name: str, **places: str) -> None:
        text = (CONFIGURATIONS / f"{name}.conf").read_text()
        self.folders = {who: folder / who / "out" for who in ("rsyslog", "relay")}
        self.ports = {who: free_port() for who in self.folders}
        texts = {}
        for who, out in self.folders.items():
            out.mkdir(parents=True, exist_ok=True)
            values = {"PORT": str(self.ports[who]), "OUT": str(out), "CONF": str(CONFIGURATIONS)}
            values |= {key: value for key, value in places.items() if not key.endswith("_OF")}
            values |= {"TARGET": places.get(f"{who.upper()}_OF", "")}
            texts[who] = re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], text)  # noqa: B023
        lab.rsyslog(texts["rsyslog"], tcp=[self.ports["rsyslog"]])
        config = folder / "relay" / "rsyslog.conf"
        config.write_text(texts["relay"])
        tables = imported(config, config.parent)
        self.relay = RelayProcess(
            folder / "relay", sources=tables["sources"], destinations=tables["destinations"]
        )
        lab._started(self.relay)

    def feed(self) -> None:
        for port in self.ports.values():
            feed_lines(port, mixed_messages())

    def compare(
        self,
        documented: Callable[[str], str],
        *,
        meaning: Callable[[str], str] = str,
        seconds_max: float = 5.0,
    ) -> None:
        """Wait until both have written the same, but for what `documented` changes.

        Args:
            documented: Makes the relay's line of rsyslog's.
            meaning: What counts of a line of either.
        """

        def files(who: str) -> dict[str, list[str]]:
            found = written(self.folders[who])
            change = documented if who == "rsyslog" else str
            return {
                name: [meaning(change(line)) for line in lines] for name, lines in found.items()
            }

        try:
            wait_until(lambda: files("rsyslog") == files("relay") != {}, "the same", seconds_max)
        except AssertionError:
            one, other = files("rsyslog"), files("relay")
            assert one.keys() == other.keys()
            for name in one:
                assert one[name] == other[name], name
            raise


def colon(line: str) -> str:
    """The relay writes a colon behind the tag of messages that came as RFC 5424, too."""
    return re.sub(r"((?:sshd|nginx|postfix/smtpd|app)\[\d+\])(?= number=)", r"\1:", line)


def one_space(line: str) -> str:
    """In RFC 5424 the relay leaves out the space that stood behind a tag."""
    return line.replace(" - -  number=", " - - number=")


def whole_name(line: str) -> str:
    """APP-NAME keeps its slash here; for rsyslog it ends there if the message was RFC 3164."""
    return re.sub(r"(?<=[ /])postfix(?= )", "postfix/smtpd", line)


def facility_names(line: str) -> str:
    """Facilities 13 to 15 have the relay's names."""
    for theirs, ours in (("audit", "security"), ("alert", "console"), ("clock", "solaris-cron")):
        line = re.sub(rf"\|{theirs}(?=\.[a-z]+\|)", f"|{ours}", line)
    return line


def test_selectors_and_files(lab: Lab, tmp_path: Path) -> None:
    pair = Pair(lab, tmp_path, "selectors")
    pair.feed()
    pair.compare(lambda line: whole_name(one_space(colon(line))))


def test_rulesets_conditions_and_names_of_files(lab: Lab, tmp_path: Path) -> None:
    pair = Pair(lab, tmp_path, "rulesets")
    pair.feed()
    pair.compare(colon)


def test_property_filters_and_parts_of_messages(lab: Lab, tmp_path: Path) -> None:
    pair = Pair(lab, tmp_path, "properties")
    pair.feed()
    pair.compare(lambda line: facility_names(whole_name(colon(line))))


def test_variables_lookups_and_json(lab: Lab, tmp_path: Path) -> None:
    pair = Pair(lab, tmp_path, "variables")
    pair.feed()

    def sorted_json(line: str) -> str:
        return json.dumps(json.loads(line), sort_keys=True) if line.startswith("{") else line

    pair.compare(str, meaning=sorted_json)


def test_forwarding(lab: Lab, tmp_path: Path) -> None:
    out = {who: tmp_path / who / "out" for who in ("rsyslog", "relay")}
    for folder in out.values():
        folder.mkdir(parents=True)
    with receiver(out["rsyslog"] / "s") as one, receiver(out["relay"] / "s") as other:
        pair = Pair(lab, tmp_path, "forwarding", RSYSLOG_OF=str(one), RELAY_OF=str(other))
        pair.feed()
        pair.compare(lambda line: whole_name(one_space(line)))
