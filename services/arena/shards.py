"""How a matchup is cut into jobs."""

from shared.records import MatchupRequest
from shared.verdicts.until import look_ranges

MIN_BATTLES = 2
MAX_BATTLES = 64


def shards(battles: int, *, pairs: bool) -> tuple[range, ...]:
    """Cut battles 0 … `battles` - 1 into ranges of about an eighth each, 2 to 64 battles, in order.

    With pairs (battles 2k and 2k + 1), no shard cuts one: every range begins at an even index.
    """
    size = min(MAX_BATTLES, max(MIN_BATTLES, -(-battles // 8)))
    if pairs and size % 2:
        size += 1
    return tuple(range(start, min(start + size, battles)) for start in range(0, battles, size))


def shards_of(request: MatchupRequest) -> tuple[range, ...]:
    """The shards of a matchup. One that is played until decided is looked at after each of them."""
    cut = look_ranges if request.until_decided else shards
    return cut(request.battles, pairs=request.pairs)
