from __future__ import annotations

from typing import get_origin

from relay.model.document import Document


def test_a_document_is_a_json_object() -> None:
    assert get_origin(Document) is dict
