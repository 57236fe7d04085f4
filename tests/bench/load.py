"""The generator and the sink: compiled from C at run time, and checked before they are used."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from array import array
from pathlib import Path
from typing import Any

from tests.bench.traffic import messages
from tests.processes import Program, free_port, is_listening_tcp, wait_until

__all__ = ["FAULTS", "BenchError", "Generator", "Sink", "Tools", "arrived"]

HERE = Path(__file__).resolve().parent
COMPILE_SECONDS_MAX = 60.0
RATE_MIN = 800_000
"""Messages a second that the tools have to manage by themselves."""
FAULTS = ("missing", "out_of_order", "duplicates", "unknown")
"""What the sink reports of messages, in its names."""
_ESTABLISHED, _CLOSE_WAIT = "01", "08"


class BenchError(Exception):
    """A measurement cannot be made, or is not valid.  Its text says why."""


class Tools:
    """The two programs, compiled into `folder`.

    Both take a file of messages, a corpus.  Without one the generator makes messages that carry
    their number, and the sink knows each of them.

    Raises:
        BenchError: There is no C compiler, or it refuses the sources.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise BenchError(
                "no C compiler: the generator and the sink of the benchmark are C programs,"
                " because Python's would be the bottleneck. Install one (apt-get install gcc"
                " libc6-dev), or use python -m tests.bench.layers, which needs none"
            )
        for name in ("generator", "sink"):
            command = [compiler, "-std=gnu17", "-O2", "-o", str(folder / name)]
            command.append(str(HERE / f"{name}.c"))
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=COMPILE_SECONDS_MAX
            )
            if done.returncode:
                raise BenchError(f"{name}.c does not compile:\n{done.stderr}")

    def check(self) -> float:
        """Let the sink find what it has to find; messages a second of the tools alone.

        Says so if they are too slow here.

        Raises:
            BenchError: It overlooked something, or lost something by itself.
        """
        mark = b"<165>1 - - - - - load SEQ c=00000 n=%010d x"
        # 1 is missing, 0 comes late, 2 twice, and one is none of ours.
        lines = [*(mark % number for number in (2, 0, 2, 3)), b"what is that"]
        self._expect(lines, missing=1, out_of_order=1, duplicates=1, unknown=1)
        sent = messages("central5424", 4)
        corpus = self.folder / "checked"
        corpus.write_bytes(b"\n".join(sent))
        in_order = {"corpus": corpus, "is_ordered": True}
        # One is there twice, and so the next one comes late and the last one too much.
        self._expect([*sent[:2], *sent[1:]], unknown=2, duplicates=1, **in_order)
        self._expect(sent[1:], missing=1, unknown=3, **in_order)
        count = 1_000_000
        with self.sink("relp", free_port(), count) as sink:
            with self.generator("relp", sink.port, count) as generator:
                report = generator.wait_report(20.0)
            found = sink.end_and_report()
        rate = count / (found["last_us"] - report["began_us"]) * 1e6
        if rate < RATE_MIN:
            print(
                f"the tools manage only {rate:,.0f}/s here, {RATE_MIN:,} are needed to trust rates"
            )
        if found["missing"] or found["duplicates"] or found["out_of_order"] or found["unknown"]:
            raise BenchError(f"the tools lose messages by themselves: {found}")
        return rate

    def _expect(
        self,
        lines: list[bytes],
        *,
        corpus: Path | None = None,
        is_ordered: bool = False,
        **expected: int,
    ) -> None:
        """What the sink, which waits for four messages, has to find in `lines`."""
        with self.sink("syslog", free_port(), 4, corpus=corpus, is_ordered=is_ordered) as sink:
            with socket.create_connection(("127.0.0.1", sink.port)) as connection:
                connection.sendall(b"".join(b"%b\n" % line for line in lines))
            wait_until(lambda: not sink.has_connections, "the sink has read everything", 5.0)
            report = sink.end_and_report()
        found = {name: report[name] for name in FAULTS if report[name]}
        if found != expected:
            raise BenchError(f"the sink should have found {expected}, but found {found}")

    def generator(
        self, protocol: str, port: int, count: int, corpus: Path | None = None, **options: int
    ) -> Generator:
        given: dict[str, Any] = {"protocol": protocol, "port": port, "count": count, **options}
        if corpus is not None:
            given["corpus"] = corpus
        return Generator(self.folder, given)

    def sink(
        self,
        protocol: str,
        port: int,
        count: int,
        connections: int = 1,
        *,
        corpus: Path | None = None,
        is_ordered: bool = False,
        arrivals: Path | None = None,
    ) -> Sink:
        """Not started.

        Args:
            connections, corpus: The generator's.
            is_ordered: The messages of the corpus have to come in its order.
            arrivals: File for when each message of the corpus came; `arrived` reads it.
        """
        given: dict[str, Any] = {"protocol": protocol, "port": port, "count": count}
        given["connections"] = connections
        if corpus is not None:
            given |= {"corpus": corpus, "ordered": int(is_ordered)}
        if arrivals is not None:
            given["arrivals"] = arrivals
        return Sink(self.folder, given)


def arrived(path: Path) -> array[int]:
    """When each message came, in microseconds of CLOCK_MONOTONIC, in the order of arrival."""
    found = array("Q")
    found.frombytes(path.read_bytes())
    return found


class _Tool(Program):
    """One run of a tool; as a context manager it starts and ends with it."""

    def __init__(self, folder: Path, tool: str, options: dict[str, Any], **more: Any) -> None:
        self.port = int(options["port"])
        arguments = [f"{name}={value}" for name, value in options.items()]
        command = [str(folder / tool), *arguments]
        super().__init__(command, folder=folder, name=f"{tool}-{self.port}", **more)

    def __enter__(self) -> Any:
        self.log_path.unlink(missing_ok=True)
        self.start(wait=False)  # the generator may be done at once
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.endswith("}")]


class Generator(_Tool):
    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        super().__init__(folder, "generator", options)

    def wait_connected(self, seconds_max: float) -> None:
        """Wait until all its connections are there; messages follow after its option `settle`."""
        wait_until(lambda: "connected" in self.log(), "the generator is connected", seconds_max)

    def wait_report(self, seconds_max: float) -> dict[str, Any]:
        """Wait for its end; what it says of itself."""
        if self.wait_exit(seconds_max) != 0 or not self.reports():
            raise BenchError(f"generator: {self.log()}")
        return self.reports()[-1]


class Sink(_Tool):
    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        port = int(options["port"])
        super().__init__(folder, "sink", options, is_ready=lambda: is_listening_tcp(port))

    def __enter__(self) -> Sink:
        super().__enter__()
        self.wait_ready()
        return self

    @property
    def has_all(self) -> bool:
        """Every message has come; fails if the sink has ended."""
        if not self.is_running:
            raise BenchError(f"sink: {self.log()}")
        return bool(self.reports())

    @property
    def has_connections(self) -> bool:
        """Somebody is connected, or it has not read all of a connection (asks the kernel)."""
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        states = [row[3] for row in rows if row[1].endswith(f":{self.port:04X}")]
        return _ESTABLISHED in states or _CLOSE_WAIT in states

    def end_and_report(self) -> dict[str, Any]:
        if self.is_running:
            self.end()
        if not self.reports():
            raise BenchError(f"sink: {self.log()}")
        return self.reports()[-1]
