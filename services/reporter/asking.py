"""What asking a policy's model took: tokens, money and time, summed over a run. Unknown stays unknown."""

from collections.abc import Iterable, Sequence
from statistics import median

from shared.battle.decision import AskRecord, Outcome, Reason
from shared.battle.protocol import Seat
from shared.records import Asking, BattleRecord, Unsubstituted
from shared.verdicts.intervals import win_rate
from shared.verdicts.scores import Played, Scores, Tally, own_choices


def asking(decisions: Iterable[Sequence[AskRecord]]) -> Asking | None:
    """The sums over the asks of each decision; None where nobody was asked."""
    of_decision = [asks for asks in decisions if asks]
    asks = [ask for asks in of_decision for ask in asks]
    if not asks:
        return None
    costs = [ask.cost_usd for ask in asks if ask.cost_usd is not None]
    return Asking(
        asks=len(asks),
        second_asks=len(asks) - len(of_decision),
        retries=sum(ask.retries for ask in asks),
        tokens_in=_total([ask.tokens_in for ask in asks]),
        tokens_out=_total([ask.tokens_out for ask in asks]),
        asks_without_tokens=sum(ask.tokens_in is None or ask.tokens_out is None for ask in asks),
        cost_usd=sum(costs) if costs else None,
        asks_without_cost=len(asks) - len(costs),
        median_first_token_ms=_median([ask.first_token_ms for ask in asks]),
        median_answer_ms=_median([ask.last_token_ms for ask in asks if ask.reason is not Reason.TIMED_OUT]),
        waited_s=round(sum(ask.waited_ms for ask in asks) / 1000, 3),
        models=tuple(sorted({ask.model for ask in asks if ask.model})),
    )


def unsubstituted(records: Iterable[BattleRecord]) -> Unsubstituted:
    """How the finished battles ended in which both policies made every decision themselves."""
    own = own_choices(
        Played(record.pair, record.winner, any(each.outcome is Outcome.SUBSTITUTED for each in record.decisions))
        for record in records
    )
    tally = Tally.of(battle.winner for battle in own)
    measured = win_rate(Scores.of(own))
    return Unsubstituted(
        n_games=tally.finished,
        p1_wins=tally.p1_wins,
        p2_wins=tally.p2_wins,
        draws=tally.draws,
        p1_win_rate=tally.p1_win_rate,
        p1_win_rate_interval=(measured.interval.low, measured.interval.high) if measured else None,
    )


def forfeits(records: Iterable[BattleRecord], policy: Seat) -> int:
    """Battles that a policy gave up."""
    return sum(record.forfeited == policy for record in records)


def _total(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
