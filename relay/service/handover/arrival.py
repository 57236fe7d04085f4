"""Sockets, connections and states that an earlier process has left for this one."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace

from relay.service.handover.document import Document, read_document
from relay.service.handover.program import OwnProgram
from relay.service.handover.store import DescriptorStore
from relay.service.process.systemd import NO_SYSTEMD, Systemd
from relay.transport.held_sockets import PREFIX, HeldConnection, HeldSocket, HeldSockets

VARIABLE = "SYSLOGRELAY_HANDOVER"
"""The number of the memfd that the process before `exec` has left."""
TRIAL_VARIABLE = "SYSLOGRELAY_TRIAL"
"""The same, of a process that goes on: only what systemd has bound is looked at."""
CONNECTIONS = PREFIX + "connections"
STATE = PREFIX + "state"
INHERITED = PREFIX + "inherited "
_STANDARD_ERROR = 2


@dataclass(slots=True)
class Arrival:
    """The descriptors that were there at the start."""

    held: HeldSockets = field(default_factory=HeldSockets)
    systemd: Systemd = NO_SYSTEMD
    """With the sockets of socket units only."""
    store: DescriptorStore = field(default_factory=DescriptorStore)
    document: Document | None = None
    """The state that the earlier process has written; None = there is none."""
    problems: list[str] = field(default_factory=list)
    program: OwnProgram | None = None
    """None = this process cannot be started again in place."""
    connections: int = 0
    """How many open connections there were."""
    inherited: int = 0
    """How many sockets of socket units came by `exec`."""


def arrive(
    environment: MutableMapping[str, str], systemd: Systemd, program: OwnProgram | None
) -> Arrival:
    """Take what an earlier process has left, by `exec` or in systemd's store.

    Args:
        environment: What is said there is for this process and not for its children.
        systemd: What it has passed.
    """
    store = DescriptorStore(systemd.notify_socket, systemd.descriptors_max)
    arrival = Arrival(HeldSockets(store), store=store, program=program)
    left = {number: name for number, name in systemd.sockets.items() if name.startswith(PREFIX)}
    sockets = {number: name for number, name in systemd.sockets.items() if number not in left}
    for name in left.values():
        store.note(name)
    documents = [number for number, name in left.items() if name == STATE]
    is_trial = TRIAL_VARIABLE in environment
    said = environment.pop(VARIABLE, "") or environment.pop(TRIAL_VARIABLE, "")
    if said.isdecimal() and int(said) > _STANDARD_ERROR:
        documents.append(int(said))
    for number in documents:
        try:
            found = read_document(number)
        except ValueError as error:
            arrival.problems.append(f"the state of the process before cannot be used: {error}")
            continue
        if arrival.document is None or found.stopped_at > arrival.document.stopped_at:
            arrival.document = found
        left |= {int(number): name for number, name in found.descriptors.items()}
    if is_trial:
        left = {number: name for number, name in left.items() if name.startswith(INHERITED)}
    inherited = _adopt_all(arrival, left)
    arrival.inherited = len(inherited)
    sockets |= inherited
    arrival.systemd = replace(systemd, sockets=sockets)
    return arrival


def names_in_use(number: str) -> set[str]:
    """The names of the sockets of a relay that runs, which has said so; the memfd stays open."""
    if not number.isdecimal():
        return set()
    return {each.name for each in read_document(os.dup(int(number))).sockets}


def _adopt_all(arrival: Arrival, left: Mapping[int, str]) -> dict[int, str]:
    """Take the sockets; returns those of socket units, which sources find by name."""
    document = arrival.document or Document()
    sockets = {each.inode: each for each in document.sockets}
    states = {each.inode: each for each in document.connections}
    inherited: dict[int, str] = {}
    for number, name in left.items():
        if name == STATE:
            continue
        try:
            os.set_inheritable(number, False)
            inode = os.fstat(number).st_ino
            if name.startswith(INHERITED):
                inherited[number] = name.removeprefix(INHERITED)
                continue
            bound = socket.socket(fileno=number)
        except OSError as error:
            text = error.strerror or error
            arrival.problems.append(f"descriptor {number} ({name}) cannot be used: {text}")
            continue
        if name == CONNECTIONS:
            arrival.connections += 1
            if (state := states.get(inode)) is None:
                bound.close()
                arrival.problems.append("a connection is closed: nothing says how far it was read")
                continue
            arrival.held.put_connection(HeldConnection(state.name, bound, state.state))
        else:
            entry = sockets.get(inode)
            known = (entry.source, entry.kernel_drops, entry.file) if entry is not None else ()
            arrival.held.put(HeldSocket(name, bound, *known))
    return inherited
