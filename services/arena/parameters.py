"""The parameters that several routes take: the key of a repeated question, the page of a list."""

import hashlib
from typing import Annotated

from fastapi import Header, Query

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]
PageLimit = Annotated[int, Query(ge=1, le=200)]
PageCursor = Annotated[str | None, Query(max_length=120)]


def named_by(idempotency_key: str) -> tuple[str, int]:
    """The id and the seed that this key always gives, so that nothing has to be remembered."""
    digest = hashlib.sha256(idempotency_key.encode()).hexdigest()
    return f"key-{digest[:20]}", int(digest[20:28], 16)
