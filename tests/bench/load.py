"""The generator and the sink: compiled from C at run time, and checked before they are used."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.processes import Program, free_port, is_listening_tcp, wait_until

__all__ = ["BenchError", "Generator", "Sink", "Tools"]

HERE = Path(__file__).resolve().parent
COMPILE_SECONDS_MAX = 60.0
RATE_MIN = 800_000
"""Messages a second that the tools have to manage by themselves."""
_ESTABLISHED, _CLOSE_WAIT = "01", "08"


class BenchError(Exception):
    """A measurement cannot be made, or is not valid.  Its text says why."""


class Tools:
    """The two programs, compiled into `folder`.

    The generator sends the lines of `corpus`, if it is set, instead of messages of its own; the
    sink then counts messages, but cannot tell one from another.

    Raises:
        BenchError: There is no C compiler, or it refuses the sources.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.corpus: Path | None = None
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
        with self.sink("syslog", free_port(), 4) as sink:
            frame = b"<165>1 - - - - - load SEQ c=00000 n=%010d t=0000000000000000 x\n"
            with socket.create_connection(("127.0.0.1", sink.port)) as connection:
                # 1 is missing, 0 comes late, 2 twice, and one is none of ours.
                frames = [frame % number for number in (2, 0, 2, 3)]
                connection.sendall(b"".join([*frames, b"what is that\n"]))
            wait_until(lambda: not sink.has_connections, "the sink has read everything", 5.0)
            found = sink.end_and_report()
        expected = {"missing": 1, "out_of_order": 1, "duplicates": 1, "unknown": 1}
        if {name: found[name] for name in expected} != expected:
            raise BenchError(f"the sink should have found {expected}, but found {found}")
        count = 1_000_000
        with self.sink("relp", free_port(), count) as sink:
            with self.generator("relp", sink.port, count) as generator:
                sent = generator.wait_report(20.0)
            found = sink.end_and_report()
        rate = count / (found["last_us"] - sent["began_us"]) * 1e6
        if rate < RATE_MIN:
            print(
                f"the tools manage only {rate:,.0f}/s here, {RATE_MIN:,} are needed to trust rates"
            )
        if found["missing"] or found["duplicates"] or found["out_of_order"] or found["unknown"]:
            raise BenchError(f"the tools lose messages by themselves: {found}")
        return rate

    def generator(self, protocol: str, port: int, count: int, **options: int) -> Generator:
        given: dict[str, Any] = {"protocol": protocol, "port": port, "count": count, **options}
        if self.corpus is not None:
            given["corpus"] = self.corpus
        return Generator(self.folder, given)

    def sink(self, protocol: str, port: int, count: int, connections: int = 1) -> Sink:
        given = {"protocol": protocol, "port": port, "count": count, "connections": connections}
        given["marked"] = int(self.corpus is None)
        return Sink(self.folder, given)


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
