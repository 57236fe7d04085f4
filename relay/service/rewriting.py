"""From a rewrite's configuration to the function that does it."""

from __future__ import annotations

from datetime import tzinfo

from relay.flow.routing import Rewrite
from relay.rewrite.ewmm import ewmm
from relay.rewrite.token import app_name, cee, tag
from relay.service.configuration import RewriteConfiguration

__all__ = ["new_rewrite"]


def new_rewrite(
    configuration: RewriteConfiguration, *, relay_name: bytes, zone: tzinfo
) -> Rewrite | None:
    """The rewrite, or None if frames pass as they are.

    Args:
        relay_name: Stands in as the host of local messages that name none.
        zone: Of stamps that carry none.
    """
    if configuration.mode == "none":
        return None
    if configuration.mode == "ewmm":
        return ewmm(relay_name, zone)
    forms = {"cee": cee, "tag": tag, "app-name": app_name}
    assert configuration.token is not None, configuration.mode
    return forms[configuration.mode](configuration.token, zone, relay_name=relay_name)
