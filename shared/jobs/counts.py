"""What the arena did, counted in Redis for whoever draws it: battles, decisions, tokens, money, time to answer.

The store has all of it exactly; these counts begin anew where Redis forgot, as Prometheus' counters may.
"""

from collections import Counter

from shared.records import BattleRecord

COUNTS = "alphastral:counts"


def counts_of(record: BattleRecord) -> Counter[str]:
    """What a battle adds: `name:label` → how much."""
    counts: Counter[str] = Counter({f"battles:{'finished' if record.winner else 'broken'}": 1})
    for decision in record.decisions:
        counts[f"decisions:{decision.outcome}"] += 1
        for ask in decision.asked:
            _add(counts, "tokens:in", ask.tokens_in)
            _add(counts, "tokens:out", ask.tokens_out)
            _add(counts, "cost_usd:", ask.cost_usd)
            if ask.last_token_ms is not None:
                _add(counts, "answers:", 1)
                _add(counts, "answer_seconds:", ask.last_token_ms / 1000)
    return counts


def _add(counts: Counter[str], name: str, much: float | None) -> None:
    if much:
        counts[name] += much  # type: ignore[assignment]
