"""A server of the bulk protocol whose answers follow a script, one step a request.

    python -m tests.end_to_end.bulk_server PORT FOLDER [--tls CERTIFICATE KEY] STEP…

Steps:

    ok                 all documents are taken; also when there are no steps left
    items=400,503,…    statuses of the first documents; the others are taken
    429, 503, …        this status for the whole request, 429 with Retry-After: 1
    413=N              more than N documents are too large, from now on
    poison=TEXT        documents with TEXT are refused, from now on
    fatal=TEXT         requests with TEXT are answered 502, from now on
    unknown-token      as Sematext says it
    limit              likewise
    lost               all documents are taken, and the connection ends before the answer
    slow               an octet of the answer each half a second, for a minute
    garbage            what is no HTTP
    broken-json        200 with half of a document
    few-items          200 with an item less
    silent             no answer

FOLDER/taken has a line for each document that was taken, FOLDER/requests one for each request.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import zstandard
from twisted.internet import ssl, task
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

_DECOMPRESS = {"gzip": gzip.decompress, "zstd": zstandard.decompress}
_UNKNOWN = b"Application not found for token 01234567-89ab-cdef-0123-456789abcdef"


class Bulk(Resource):
    isLeaf = True

    def __init__(self, folder: Path, steps: list[str]) -> None:
        super().__init__()
        self._taken = (folder / "taken").open("a")
        self._requests = (folder / "requests").open("a")
        self._steps = steps
        self._records_max = 10**9
        self._poison = self._fatal = ""

    def render_POST(self, request: Any) -> Any:
        step = self._next_step()
        octets = request.content.read()
        coding = request.getHeader("content-encoding")
        lines = (_DECOMPRESS[coding](octets) if coding else octets).decode().splitlines()
        actions, documents = [json.loads(line) for line in lines[::2]], lines[1::2]
        self._note(request, step, len(documents))
        if len(documents) > self._records_max:
            step = "413"
        if self._fatal and any(self._fatal in document for document in documents):
            step = "502"
        if step.isdecimal():
            return self._refuse(request, int(step))
        if step in ("unknown-token", "limit"):
            return self._hold(request, step)
        if step in ("slow", "garbage", "silent"):
            return self._misbehave(request, step)
        answer = self._answer(step, actions, documents)
        if step == "lost":
            request.channel.transport.abortConnection()
            return NOT_DONE_YET
        return answer[: len(answer) // 2] if step == "broken-json" else answer

    def _next_step(self) -> str:
        while self._steps:
            step = self._steps.pop(0)
            name, _, value = step.partition("=")
            if name == "413" and value:
                self._records_max = int(value)
            elif name == "poison":
                self._poison = value
            elif name == "fatal":
                self._fatal = value
            else:
                return step
        return "ok"

    def _note(self, request: Any, step: str, count: int) -> None:
        headers = {
            name: request.getHeader(name)
            for name in ("authorization", "content-encoding", "user-agent", "content-type")
        }
        note = {"path": request.uri.decode(), "step": step, "documents": count, **headers}
        print(json.dumps(note), file=self._requests, flush=True)

    def _answer(self, step: str, actions: list[Any], documents: list[str]) -> bytes:
        name, _, values = step.partition("=")
        statuses = [int(value) for value in values.split(",")] if name == "items" else []
        statuses += [201] * (len(documents) - len(statuses))
        items = []
        for action, document, status in zip(actions, documents, statuses, strict=False):
            ((verb, target),) = action.items()
            if self._poison and self._poison in document:
                status = 400
            if status == 201:
                note = {**target, "document": json.loads(document)}
                print(json.dumps(note), file=self._taken, flush=True)
                items.append({verb: {"status": 201}})
            else:
                error = {"type": "mapper_parsing_exception", "reason": "failed to parse"}
                items.append({verb: {"status": status, "error": error}})
        if step == "few-items":
            items.pop()
        return json.dumps({"took": 1, "errors": set(statuses) != {201}, "items": items}).encode()

    def _refuse(self, request: Any, status: int) -> bytes:
        request.setResponseCode(status)
        if status == 429:
            request.setHeader("Retry-After", "1")
        return b'{"error":{"reason":"not now"}}'

    def _hold(self, request: Any, step: str) -> bytes:
        request.setResponseCode(400)
        if step == "limit":
            request.setHeader("X-Logsene-Error", "daily limit reached")
            return b""
        return _UNKNOWN

    def _misbehave(self, request: Any, step: str) -> int:
        connection = request.channel.transport
        if step == "garbage":
            connection.write(b"\x00\xffSSH-2.0-what\r\n\r\n")
            connection.loseConnection()
        elif step == "slow":
            octets = iter(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * 80)
            task.LoopingCall(lambda: connection.write(bytes([next(octets)]))).start(0.5).addErrback(
                lambda _: connection.abortConnection()
            )
        return NOT_DONE_YET


def main(reactor: Any, port: str, folder: str, *steps: str) -> Deferred[None]:
    if steps[:1] == ("--tls",):
        _, certificate, key, *rest = steps
        context = ssl.DefaultOpenSSLContextFactory(key, certificate)
        site = Site(Bulk(Path(folder), rest))
        reactor.listenSSL(int(port), site, context, interface="127.0.0.1")
    else:
        site = Site(Bulk(Path(folder), list(steps)))
        reactor.listenTCP(int(port), site, interface="127.0.0.1")
    return Deferred()


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
