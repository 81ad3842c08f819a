"""How a matchup is cut into jobs."""

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
