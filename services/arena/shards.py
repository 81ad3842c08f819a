"""How a matchup is cut into jobs."""

MIN_BATTLES = 2
MAX_BATTLES = 64
FIRST_BATTLES = 4


def shards(battles: int, *, pairs: bool) -> tuple[range, ...]:
    """Cut battles 0 … `battles` - 1 into ranges of about an eighth each, 2 to 64 battles, in order.

    With pairs (battles 2k and 2k + 1), no shard cuts one: every range begins at an even index.
    """
    size = min(MAX_BATTLES, max(MIN_BATTLES, -(-battles // 8)))
    if pairs and size % 2:
        size += 1
    return tuple(range(start, min(start + size, battles)) for start in range(0, battles, size))


def shards_until_decided(battles: int, *, pairs: bool) -> tuple[range, ...]:
    """Cut a matchup that stops when decided, with at most `battles`, into ranges to look after, in order.

    They begin with 4 battles and grow to a sixteenth of what was played before, at most 64: so a look comes late by a
    sixteenth at worst, and the looks at n battles together read about 16 n records.
    """
    cut: list[range] = []
    start = 0
    while start < battles:
        size = min(MAX_BATTLES, max(FIRST_BATTLES, -(-start // 16)))
        size += size % 2 if pairs else 0
        cut.append(range(start, min(start + size, battles)))
        start += size
    return tuple(cut)
