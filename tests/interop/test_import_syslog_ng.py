"""Configurations of syslog-ng do the same after their import as they do in syslog-ng.

Each is run by the real program; its text, with other ports and another folder, is imported and run
by the relay.  Both get the same 200 messages and must write the same lines into the same files.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.moving.imports import import_file
from tests.interop.lab import Lab
from tests.plain_senders import feed_lines, feed_stream
from tests.processes import Programs, free_port, running_programs, wait_until
from tests.relay_process import RelayProcess

HOSTS = ("web-1", "web-22", "db-1", "test-3", "10.0.0.7")
PROGRAMS = ("sshd", "cron", "app-web", "app-db", "postfix/smtp", "healthcheck", "su")
TEXTS = (
    "Failed password for root from 192.0.2.7 port 22",
    "connection refused by peer",
    '{"status": 404, "user": {"name": "ada"}, "path": "/index.html"}',
    "time=12 user=bob action=login result=ok",
    "10.1.2.3;carol;GET /x;200",
    "password=hunter2 and password=secret2 were sent",
    "árvíztűrő tükörfúrógép 日本語",
    "{not json",
    'two  blanks, a\ttab and $HOST ${MSG} %s \\ "quotes"',
    "error: panic in thread 7",
)


def legacy(count: int = 200) -> list[bytes]:
    """Messages of RFC 3164, all facilities and severities, in an order that mixes everything."""
    return [
        (
            f"<{(number * 7) % 192}>Oct {number % 9 + 10} 22:14:{number % 60:02d}"
            f" {HOSTS[number % len(HOSTS)]} {PROGRAMS[number % len(PROGRAMS)]}[{1000 + number}]:"
            f" {TEXTS[number % len(TEXTS)]} n={number}"
        ).encode()
        for number in range(count)
    ]


def modern(count: int = 200) -> list[bytes]:
    """The same as RFC 5424, with structured data in every third."""
    data = ("-", '[origin@32473 ip="192.0.2.1" q="a\\"b\\]c"]', '[meta sequenceId="7"][x@1 y="z"]')
    return [
        (
            f"<{(number * 7) % 192}>1 2026-10-{number % 9 + 10}T22:14:{number % 60:02d}"
            f".{number:06d}+02:00 {HOSTS[number % len(HOSTS)]}"
            f" {PROGRAMS[number % len(PROGRAMS)]} {1000 + number} ID{number % 5}"
            f" {data[number % 3]} {TEXTS[number % len(TEXTS)]} n={number}"
        ).encode()
        for number in range(count)
    ]


class Collector:
    """Takes streams at a port of its own and keeps their bytes."""

    def __init__(self) -> None:
        self.received = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    self.received += data

    def close(self) -> None:
        self._listener.close()


class Both:
    """The real program and the relay with its imported configuration."""

    def __init__(self, lab: Lab, programs: Programs, folder: Path) -> None:
        self._lab = lab
        self._programs = programs
        self.theirs, self.ours = folder / "theirs", folder / "ours"
        self.collectors = Collector(), Collector()
        self._folder = folder

    def run(self, config: str, *, frames: Sequence[bytes], is_counted: bool = False) -> list[str]:
        """Run `config`, whose words PORT, SINK and OUT are filled in, and send `frames` to both.

        Returns the lines of the report that are not about what was taken over.
        """
        ports = free_port(), free_port()
        for folder in (self.theirs, self.ours):
            folder.mkdir()

        def filled_in(index: int) -> str:
            out = (self.theirs, self.ours)[index]
            sink = self.collectors[index].port
            return (
                config.replace("PORT", str(ports[index]))
                .replace("SINK", str(sink))
                .replace("OUT", str(out))
            )

        real = self._lab.syslog_ng(filled_in(0), tcp=[ports[0]])
        head = (real.folder / "syslog-ng.conf").read_text().replace(filled_in(0), "")
        path = self._folder / "import.conf"
        path.write_text(head + filled_in(1))
        result = import_file("syslog-ng", path)
        relay = RelayProcess(
            self._folder / "relay",
            sources=result.sources,
            destinations=result.destinations,
            environment={**os.environ, "TZ": "UTC"},
        )
        self._programs.add(relay)
        relay.start()
        feed = feed_stream if is_counted else feed_lines
        for port in ports:
            feed(port, frames)
        return result.doubts

    def files(self, folder: Path) -> dict[str, list[str]]:
        return {
            str(path.relative_to(folder)): path.read_text().splitlines()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def _is_settled(self) -> bool:
        theirs, ours = self.files(self.theirs), self.files(self.ours)
        # Members of objects may have another order, and some lines come twice.
        return {name: len({*lines}) for name, lines in theirs.items()} == {
            name: len({*lines}) for name, lines in ours.items()
        }

    def wait_for_files(self, lines: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """What both have written, when syslog-ng has written `lines` lines and ours are as many."""
        wait_until(
            lambda: sum(map(len, self.files(self.theirs).values())) >= lines,
            f"{lines} lines of syslog-ng",
        )
        with suppress(AssertionError):
            wait_until(self._is_settled, "as many lines of the relay", 5.0)
        return self.files(self.theirs), self.files(self.ours)


@pytest.fixture
def both(lab: Lab, tmp_path: Path) -> Iterator[Both]:
    with running_programs() as programs:
        both = Both(lab, programs, tmp_path)
        yield both
        for collector in both.collectors:
            collector.close()


def assert_same(theirs: dict[str, list[str]], ours: dict[str, list[str]]) -> None:
    """Both have the same files with the same lines."""
    assert sorted(theirs) == sorted(ours)
    for name in theirs:
        first = next(
            (pair for pair in zip(theirs[name], ours[name], strict=False) if pair[0] != pair[1]),
            None,
        )
        assert first is None, (name, first)
        assert len(theirs[name]) == len(ours[name]), name


def test_routing_by_filters_and_flags(both: Both) -> None:
    doubts = both.run(
        """
        source s { network(ip(127.0.0.1) port(PORT) transport(tcp)); };
        filter f_auth { facility(auth, authpriv); };
        filter f_mail { facility(mail) and not level(debug); };
        filter f_bad { level(err..emerg) or match("refused" value("MESSAGE")); };
        filter f_web { host("^web-[0-9]+$") and not (program("cron") or message('^\\{')); };
        filter f_noise { program("^healthcheck$"); };
        destination d_auth { file("OUT/auth"); };
        destination d_mail { file("OUT/mail"); };
        destination d_bad { file("OUT/bad"); };
        destination d_web { file("OUT/web"); };
        destination d_mild { file("OUT/mild"); };
        destination d_local { file("OUT/local"); };
        destination d_rest { file("OUT/rest"); };
        log { source(s); filter(f_noise); flags(final); };
        log { source(s); filter(f_auth); destination(d_auth); flags(final); };
        log { source(s); filter(f_mail); log { filter(f_bad); destination(d_bad); flags(final); };
              log { destination(d_mail); }; };
        log { source(s); filter(f_web); filter(f_bad); destination(d_web); };
        log { source(s); filter { facility(local0..local7) and "${LEVEL_NUM}" > "4" };
              destination(d_mild); };
        log { source(s); filter { facility(local3) or program("app-" type(string) flags(prefix)) };
              destination(d_local); destination(d_bad); };
        log { source(s); destination(d_rest); flags(fallback); };
        """,
        frames=legacy(),
    )
    assert [line.split(": ")[-1] for line in doubts] == [
        "a message that comes here by two log paths is sent once"
    ]
    theirs, ours = both.wait_for_files(253)
    # What comes there by two paths is written twice by syslog-ng, as the report says.
    theirs["bad"] = [*dict.fromkeys(theirs["bad"])]
    assert_same(theirs, ours)


def test_templates_and_rewriting(both: Both) -> None:
    doubts = both.run(
        """
        template t_line {
          template("$PRI|${ISODATE}|$HOST|${PROGRAM:-none}|$PID|$FACILITY.$LEVEL|$MSG\\n");
        };
        source s { network(ip(127.0.0.1) port(PORT) transport(tcp)); };
        rewrite r_secrets {
          subst('password=[a-z0-9]+', 'password=***', value("MESSAGE") flags(global));
        };
        rewrite r_blank {
          subst("  ", "_" value("MESSAGE") type(string) flags(substring));
          subst("two", "never" value("MESSAGE") type(string));
        };
        rewrite r_host {
          set("old-${HOST}" value(".original"));
          set("gateway" value("HOST") condition(host('^10\\.')));
        };
        rewrite r_level { set-severity("info" condition(program("cron"))); };
        destination d_hosts {
          file("OUT/hosts/${HOST}/${R_YEAR}.log" template(t_line) create-dirs(yes));
        };
        destination d_plain { file("OUT/plain" template("$DATE $MSGHDR$MSG\\n")); };
        destination d_marked { file("OUT/marked" template("${.original} $TAGS $LEVEL $MSG\\n")); };
        log {
          source(s); rewrite(r_secrets); rewrite(r_blank); destination(d_plain);
          rewrite(r_host); destination(d_hosts);
          filter { level(warning..emerg); };
          rewrite(r_level); rewrite { set-tag("marked"); };
          filter { not host("db-1"); };
          destination(d_marked);
        };
        """,
        frames=legacy(),
    )
    assert doubts == []
    theirs, ours = both.wait_for_files(500)
    assert_same(theirs, ours)


def test_alternatives_and_parsers(both: Both) -> None:
    both.run(
        """
        source s { network(ip(127.0.0.1) port(PORT) transport(tcp)); };
        parser p_kv { kv-parser(prefix(".kv.")); };
        parser p_csv {
          csv-parser(columns("C.CLIENT" "C.USER" "C.REST") delimiters(";") flags(greedy));
        };
        parser p_re {
          regexp-parser(patterns('for (?<USER>[a-z]+) from (?<ADDRESS>[0-9.]+)') prefix(".re."));
        };
        destination d_json { file("OUT/json" template("$(format-json --scope none
            --key .kv.* --key .label --pair host=$HOST --pair n=$PID --leave-initial-dot)\\n")); };
        destination d_csv { file("OUT/csv" template("${C.CLIENT}|${C.USER}|$MSG\\n")); };
        destination d_re { file("OUT/re" template("${.re.USER} ${.re.ADDRESS}\\n")); };
        destination d_objects {
          file("OUT/objects" template("${.j.status} ${.j.user.name} $PID\\n"));
        };
        log {
          source(s);
          if (message('=') and not message('^password')) {
            parser(p_kv); rewrite { set("kv" value(".label")); };
          }
          elif (host("^web")) { rewrite { set("web" value(".label")); }; }
          else { rewrite { set("other" value(".label")); }; };
          destination(d_json);
        };
        log { source(s); filter { message(';'); }; parser(p_csv); destination(d_csv); };
        log { source(s); parser(p_re); destination(d_re); };
        log { source(s); parser { json-parser(prefix(".j.")); }; destination(d_objects); };
        log {
          source(s);
          junction {
            channel {
              filter { facility(kern); }; rewrite { set("kernel" value(".way")); }; flags(final);
            };
            channel {
              filter { level(err); }; rewrite { set("error" value(".way")); }; flags(final);
            };
          };
          destination { file("OUT/ways" template("${.way} $FACILITY $LEVEL $PID\\n")); };
        };
        """,
        frames=legacy(),
    )
    theirs, ours = both.wait_for_files(294)
    # The members of an object are in another order.
    for files in (theirs, ours):
        files["json"] = [json.dumps(json.loads(line), sort_keys=True) for line in files["json"]]
    assert_same(theirs, ours)


def test_blocks_and_modern_messages(both: Both) -> None:
    doubts = both.run(
        """
@define out "OUT"
        block source listener(port() ...) {
            syslog(ip(127.0.0.1) port(`port`) transport(tcp) `__VARARGS__`);
        };
        block destination kept(name() format("$MSG")) {
            file("`out`/`name`" template("`format`\\n"));
        };
        block filter bad_enough() { level(emerg..crit); };
        source s { listener(port(PORT) tags("modern")); };
        destination d_all {
          kept(name("all") format("$ISODATE $HOST $PROGRAM $PID $MSGID $SDATA $MSG"));
          kept(name("some") format("${.SDATA.origin@32473.ip}|${.SDATA.x@1.y}"));
        };
        destination d_bad { kept(name(bad)); };
        destination d_next { syslog("127.0.0.1" port(SINK) transport(tcp)); };
        log {
          source(s); destination(d_all); destination(d_next);
          log { filter { bad_enough() and tags("modern"); }; destination(d_bad); };
        };
        """,
        frames=modern(),
        is_counted=True,
    )
    assert doubts == []
    theirs, ours = both.wait_for_files(475)
    assert_same(theirs, ours)
    assert_same_streams(both, b"syslog() ends each counted message with LF, the relay does not")


def assert_same_streams(both: Both, why: bytes) -> None:
    """Both collectors have the same messages, apart from LF at the end of a counted one."""

    def messages(stream: bytes) -> list[bytes]:
        found = []
        while stream:
            length, _, rest = stream.partition(b" ")
            found.append(rest[: int(length)].rstrip(b"\n"))
            stream = rest[int(length) :]
        return found

    first, second = both.collectors
    wait_until(lambda: first.received.count(b">1 ") == 200, "200 messages of syslog-ng")
    wait_until(lambda: second.received.count(b">1 ") == 200, "200 messages of the relay")
    wait_until(lambda: second.received.endswith(b"n=199"), "the last message")
    for theirs, ours in zip(messages(first.received), messages(second.received), strict=True):
        assert theirs == ours, why


def test_plain_forwarding(both: Both) -> None:
    doubts = both.run(
        """
        options { ts-format(iso); };  # for files; network() has stamps of RFC 3164 all the same
        source s {
          network(ip(127.0.0.1) port(PORT) transport(tcp) flags(no-multi-line) program-override("p")
                  host-override("h") default-facility(local2));
        };
        destination d_out { network("127.0.0.1" port(SINK) transport(tcp)); };
        destination d_file { file("OUT/file"); };
        log { source(s); destination(d_out); destination(d_file); };
        """,
        frames=legacy(),
    )
    assert doubts == []
    theirs, ours = both.wait_for_files(200)
    assert_same(theirs, ours)
    first, second = both.collectors
    wait_until(lambda: first.received.count(b"\n") == 200, "200 lines of syslog-ng")
    wait_until(lambda: second.received.count(b"\n") == 200, "200 lines of the relay")
    assert first.received.splitlines() == second.received.splitlines()
