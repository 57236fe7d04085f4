"""The extras: no relay loads them without need, and a missing library is named with its extra."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_command_line import PROGRAM
from tests.engines.mock_cluster import MockCluster
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

pytestmark = pytest.mark.slow

LIBRARIES = {"kafka": "confluent_kafka", "nats": "nats"}
CLIENTS = {"kafka": "relay.transport.kafka", "nats": "relay.transport.nats"}
DIRECT = {"relay.flow.direct", "relay.service.direct"}
_IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +([\w.]+)", re.MULTILINE)


def relay(folder: Path, destination: Mapping[str, Any], **environment: str) -> RelayProcess:
    return RelayProcess(
        folder,
        sources={"in": {"listen": f"udp://127.0.0.1:{free_port()}"}},
        destinations={"out": destination},
        environment=os.environ | environment,
    )


def imported(process: RelayProcess) -> set[str]:
    """All modules that the relay has imported so far, and the packages that they lie in.

    Python prints no line for a package that is imported because of a module in it.
    """
    found = [name.split(".") for name in _IMPORTED.findall(process.log())]
    return {".".join(parts[:end]) for parts in found for end in range(1, len(parts) + 1)}


@pytest.fixture
def urls() -> Iterator[dict[str, str]]:
    """An address of each extra; nobody listens at that of NATS."""
    with MockCluster(brokers=1, topics={"logs": 1}) as cluster:
        yield {
            "kafka": f"kafka://{cluster.address}/logs",
            "nats": f"nats://127.0.0.1:{free_port()}/LOGS",
        }


def test_without_their_addresses_no_library_and_no_client_is_loaded(
    programs: Programs, tmp_path: Path
) -> None:
    destination = {"connect": f"relp://127.0.0.1:{free_port()}"}
    process = relay(tmp_path, destination, PYTHONPROFILEIMPORTTIME="1")
    programs.add(process)
    process.start()
    assert {"relay", "lmdb"} <= imported(process)
    assert imported(process) & {*LIBRARIES.values(), *CLIENTS.values(), *DIRECT} == set()


@pytest.mark.parametrize("extra", LIBRARIES)
def test_with_its_address_a_library_and_its_client_are_loaded(
    extra: str, urls: Mapping[str, str], programs: Programs, tmp_path: Path
) -> None:
    """The check above can fail."""
    process = relay(tmp_path, {"connect": urls[extra]}, PYTHONPROFILEIMPORTTIME="1")
    programs.add(process)
    process.start()
    wait_until(lambda: LIBRARIES[extra] in imported(process), f"{LIBRARIES[extra]} is loaded")
    (other,) = CLIENTS.keys() - {extra}
    assert CLIENTS[extra] in imported(process)
    assert CLIENTS[other] not in imported(process)


@pytest.mark.parametrize("extra", LIBRARIES)
def test_a_missing_library_is_one_line_with_the_name_of_the_extra(
    extra: str, urls: Mapping[str, str], tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    name = LIBRARIES[extra]
    (hidden / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}', name='{name}')\n")
    process = relay(tmp_path, {"connect": urls[extra]}, PYTHONPATH=str(hidden))

    process.start(wait=False)
    assert process.wait_exit() != 0
    told = [line for line in process.log().splitlines() if f"syslogrelay[{extra}]" in line]
    assert len(told) == 1, process.log()
    assert "Traceback" not in process.log()

    done = subprocess.run(
        [PROGRAM, "check", str(process.config_path)],
        env=os.environ | {"PYTHONPATH": str(hidden)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert f"pip install 'syslogrelay[{extra}]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
