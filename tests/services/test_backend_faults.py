"""What an HTTP status means for a question: try again, wait, give the question up, or give the endpoint up."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from services.arena.backends.transport import Busy, Declined, Failing, answered_with
from shared.errors import Unreachable


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (307, Unreachable),
        (400, Declined),
        (401, Unreachable),
        (403, Unreachable),
        (404, Unreachable),
        (408, Failing),
        (413, Declined),
        (422, Declined),
        (424, Failing),
        (429, Busy),
        (500, Failing),
        (502, Failing),
        (503, Busy),
        (529, Failing),
    ],
)
def test_a_status_says_whether_another_try_may_help(status: int, kind: type[Exception]) -> None:
    assert type(answered_with(status, {}, "")) is kind


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(None, None), ("2", 2), ("0.5", 0.5), ("-3", 0), ("soon", None), ("", None), ("nan", None)],
)
def test_retry_after_is_read_as_seconds(retry_after: str | None, seconds: float | None) -> None:
    fault = answered_with(429, {"retry-after": retry_after} if retry_after is not None else {}, "")

    assert isinstance(fault, Busy)
    assert fault.retry_after_seconds == seconds


def test_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    fault = answered_with(503, {"retry-after": date}, "")

    assert isinstance(fault, Busy)
    assert fault.retry_after_seconds == pytest.approx(90, abs=3)


def test_what_a_server_says_of_a_key_is_not_repeated() -> None:
    assert "abc123" not in str(answered_with(401, {}, "the key abc123 is wrong"))
