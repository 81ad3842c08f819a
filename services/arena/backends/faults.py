"""What can go wrong between a question and its answer, and which of it another try may mend.

    Fault                another try may help, so the transport tries again
    ├── Away             no connection, or it broke
    ├── Busy             429 or 503: too much at once; says how long to wait, where the server did
    └── Failing          5xx, or a body that is no answer
    Declined             the server will not answer this question, however often it is asked

What is wrong with the endpoint itself (a refused key, no such model, a redirect) is Unreachable.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from shared.errors import Unreachable
from shared.text import one_line

_FOR_THIS_QUESTION = frozenset({400, 405, 406, 411, 413, 414, 415, 422, 451})
_PASSING = frozenset({408, 409, 421, 423, 424, 425})


class Fault(Exception):
    """The server did not answer as it should; another try may help."""


class Away(Fault):
    """No connection, or it broke."""


class Failing(Fault):
    """The server says that it failed, or says what is no answer."""


class Busy(Fault):
    """The server asks to be spared for a while."""

    def __init__(self, detail: str, retry_after_seconds: float | None) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Declined(Exception):
    """The server will not answer this question."""


def answered_with(status: int, headers: Mapping[str, str], body: str) -> Exception:
    """What an HTTP status other than success means, as the exception to raise."""
    detail = f"HTTP {status}: {one_line(body.strip())}" if body.strip() else f"HTTP {status}"
    retry_after = _seconds(headers.get("retry-after"))
    if status == 429 or (status == 503 and retry_after is not None):
        return Busy(detail, retry_after)
    if status >= 500 or status in _PASSING:
        return Failing(detail)
    if status in _FOR_THIS_QUESTION:
        return Declined(detail)
    if status in (401, 403):
        # What the server says about a key may hold the key.
        return Unreachable(f"the key is refused (HTTP {status})")
    if 300 <= status < 400:
        return Unreachable(f"it redirects to another address (HTTP {status}), which is not followed")
    return Unreachable(detail)


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After as RFC 9110 has it: seconds, or a date."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if isfinite(seconds) else None
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
