"""Which endpoint a path leads to, and what the other parts of a request say."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import parse_qsl, unquote

from relay.model.token import has_token_form
from relay.wire.http.bulk_requests import BULK, DOCUMENT, INFORMATION
from relay.wire.http.endpoints import INGEST, Call, Endpoint
from relay.wire.http.otlp import LOGS, PATH
from relay.wire.http.splunk import COLLECTOR

_ENDPOINTS: dict[str, Endpoint] = {
    **INFORMATION,
    **COLLECTOR,
    "/_bulk": BULK,
    "/ingest": INGEST,
    PATH: LOGS,
}
_OF_INDEX = re.compile(r"/(?P<index>[^/_][^/]{0,254})/(?:_bulk|(?P<document>_doc(?:/[^/]*)?))")
_PARAMETERS_MAX = 100
_SCHEMES = ("splunk", "bearer", "apikey", "basic")


def read_target(method: str, target: bytes, content_type: str) -> tuple[Endpoint | None, Call]:
    """The endpoint that a request is for, None if there is none, and what it says of itself.

    Args:
        target: Path and query.
        content_type: Value of the header.
    """
    path, _, query = target.decode("utf-8", "replace").partition("?")
    path = unquote(path).rstrip("/") or "/"
    try:
        parameters = dict(parse_qsl(query, max_num_fields=_PARAMETERS_MAX))
    except ValueError:  # more of them
        parameters = {}
    of_index = _OF_INDEX.fullmatch(path)
    endpoint = _ENDPOINTS.get(path)
    if path == "/" and method == "POST":
        endpoint = INGEST
    elif of_index is not None:
        endpoint = DOCUMENT if of_index["document"] else BULK
    call = Call(
        "/".join("****" if has_token_form(part.encode()) else part for part in path.split("/")),
        parameters,
        content_type.partition(";")[0].strip().lower(),
        "" if of_index is None else of_index["index"],
    )
    return endpoint, call


def secrets_of(authorization: str) -> list[bytes]:
    """What may be a token in the value of Authorization, most likely first.

    Splunk's and Bearer's word, the password of Basic, and the parts of an ApiKey, which is
    ID:KEY in base64.
    """
    scheme, _, rest = authorization.strip().partition(" ")
    secret = rest.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() not in _SCHEMES or not secret:
        return []
    if scheme.lower() in ("splunk", "bearer"):
        return [secret]
    try:
        name, _, key = base64.b64decode(secret, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return [secret]
    return [key, secret] if scheme.lower() == "apikey" else [key or name]
