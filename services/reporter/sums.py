"""The figures of a run, summed up in one pass over its battles, however many there are."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from shared.battle.decision import AskRecord, Outcome, Reason
from shared.battle.protocol import Seat
from shared.records import (
    SCHEMA_VERSION,
    Asking,
    BattleRecord,
    BattleReview,
    DecisionRecord,
    MatchupRequest,
    Run,
    Summary,
    luck_of,
)
from shared.verdicts.intervals import win_rate
from shared.verdicts.scores import Played, Scores, Tally, own_choices
from shared.verdicts.sequential import Decided, SequentialTest, latest_look


class RunSums:
    """The figures of a run, summed up battle by battle in the order of their index: no record is kept.

    Game length is over finished battles. Decisions, their milliseconds and the substituted share of them are over
    every decision that a policy was asked for, those of broken battles too; a decision with one legal action, where
    nobody was asked, is not among them.
    """

    def __init__(self, request: MatchupRequest) -> None:
        self._request = request
        self._played: dict[int, Played] = {}
        self._turns = 0
        self._began: datetime | None = None
        self._ended: datetime | None = None
        self._sides: Mapping[Seat, _Side] = {"p1": _Side(), "p2": _Side()}
        self._named: Mapping[str, dict[str, set[str]]] = {"contract": {}, "cards": {}, "versions": {}}

    def add(self, record: BattleRecord, review: BattleReview | None = None) -> None:
        """Sum up one battle, and what its review says."""
        substituted = any(decision.outcome is Outcome.SUBSTITUTED for decision in record.decisions)
        self._played[record.index] = Played(record.pair, record.winner, substituted, review.luck if review else None)
        self._turns += record.turns if record.winner is not None else 0
        start = datetime.fromisoformat(record.started_at)
        end = start + timedelta(seconds=record.duration_s)
        self._began, self._ended = min(self._began or start, start), max(self._ended or end, end)
        for decision in record.decisions:
            if decision.outcome is not Outcome.ONLY_ACTION:
                self._sides[decision.policy].add(decision)
        if record.forfeited:
            self._sides[record.forfeited].forfeits += 1
        for name, values in self._named.items():
            for key, value in getattr(record, name).items():
                values.setdefault(key, set()).add(value)

    def run(self, matchup_id: str, created_at: str, **told: Any) -> Run:
        """The run, all but its rows. `told` is what else it says of its matchup."""
        named = {
            # Where workers differed, their values stand side by side.
            name: {key: ", ".join(sorted(values[key])) for key in sorted(values)}
            for name, values in self._named.items()
        }
        return Run(
            summary=self._summary(),
            battles=(),
            turn_stats=(),
            schema_version=SCHEMA_VERSION,
            matchup_id=matchup_id,
            request=self._request,
            created_at=created_at,
            **named,
            **told,
        )

    def _summary(self) -> Summary:
        request, played = self._request, list(self._played.values())
        own, test = own_choices(played), self._sequential_test()
        rate, decided = win_rate(Scores.of(played)), test is not None and test.decided is not Decided.UNDECIDED
        counts = _counts(played)
        of_side = {
            f"{side}_{name}": value
            for side, of in self._sides.items()
            for name, value in {"agent": request.p1 if side == "p1" else request.p2, **of.figures()}.items()
        }
        return Summary.model_validate(
            {
                **counts,
                "avg_game_length": self._turns / counts["n_games"] if counts["n_games"] else None,
                "total_duration_s": self._wall_clock_seconds(),
                "broken": len(played) - counts["n_games"],
                "not_played": 0 if decided else max(0, request.battles - len(played)),
                "variance_removed_by_pairs": rate.variance_removed if rate else None,
                "sequential_test": test,
                "unsubstituted": _counts(own),
                "luck": luck_of(self._request, played),
                **of_side,
            }
        )

    def _sequential_test(self) -> SequentialTest | None:
        request = self._request
        if request.until_decided is None:
            return None
        luck = request.luck is not None
        return latest_look(self._played, request.until_decided, most=request.battles, pairs=request.pairs, luck=luck)

    def _wall_clock_seconds(self) -> float | None:
        """From the first battle's start to the last one's end, so that battles at once are not counted twice."""
        if self._began is None or self._ended is None:
            return None
        return round((self._ended - self._began).total_seconds(), 3)


def _counts(played: Sequence[Played]) -> dict[str, Any]:
    """What the summary tells of all battles, and again of those without a substitution."""
    tally, rate = Tally.of(battle.winner for battle in played), win_rate(Scores.of(played))
    return {
        "n_games": tally.finished,
        "p1_wins": tally.p1_wins,
        "p2_wins": tally.p2_wins,
        "draws": tally.draws,
        "p1_win_rate": tally.p1_win_rate,
        "p1_win_rate_interval": rate.interval if rate else None,
    }


class _Side:
    """The decisions that one policy was asked for. Of times, whose median is wanted, each is kept: in 8 bytes."""

    def __init__(self) -> None:
        self.forfeits = 0
        self._decisions = 0
        self._decision_ms = 0.0
        self._reasons: Counter[Reason | None] = Counter()
        self._asked = 0
        """Decisions of which a model was asked."""
        self._sums: Counter[str] = Counter()
        self._cost_usd = 0.0
        self._waited_ms = 0.0
        self._first_token_ms, self._answer_ms = array("d"), array("d")
        self._models: set[str] = set()

    def add(self, decision: DecisionRecord) -> None:
        self._decisions += 1
        self._decision_ms += decision.decision_ms
        if decision.outcome is Outcome.SUBSTITUTED:
            self._reasons[decision.reason] += 1
        self._asked += bool(decision.asked)
        for ask in decision.asked:
            self._add(ask)

    def _add(self, ask: AskRecord) -> None:
        sums = self._sums
        sums["asks"] += 1
        sums["retries"] += ask.retries
        for name, tokens in (("tokens_in", ask.tokens_in), ("tokens_out", ask.tokens_out)):
            if tokens is not None:
                sums[name] += tokens
        sums["without_tokens"] += ask.tokens_in is None or ask.tokens_out is None
        sums["without_cost"] += ask.cost_usd is None
        self._cost_usd += ask.cost_usd or 0.0
        self._waited_ms += ask.waited_ms
        if ask.first_token_ms is not None:
            self._first_token_ms.append(ask.first_token_ms)
        if ask.last_token_ms is not None and ask.reason is not Reason.TIMED_OUT:
            self._answer_ms.append(ask.last_token_ms)
        if ask.model:
            self._models.add(ask.model)

    def figures(self) -> dict[str, Any]:
        """Its part of the summary."""
        substitutions = self._reasons.total()
        return {
            "avg_decision_ms": self._decision_ms / self._decisions if self._decisions else None,
            "fallback_rate": substitutions / self._decisions if self._decisions else None,
            "substitutions": substitutions,
            "decisions": self._decisions,
            "forfeits": self.forfeits,
            "substitutions_by_reason": {reason: times for reason, times in self._reasons.items() if reason},
            "asking": self._asking(),
        }

    def _asking(self) -> Asking | None:
        """The sums over the asks; None where nobody was asked. A sum of nothing known is None, too."""
        sums = self._sums
        if not sums["asks"]:
            return None
        return Asking(
            asks=sums["asks"],
            second_asks=sums["asks"] - self._asked,
            retries=sums["retries"],
            tokens_in=sums.get("tokens_in"),
            tokens_out=sums.get("tokens_out"),
            asks_without_tokens=sums["without_tokens"],
            cost_usd=self._cost_usd if sums["asks"] > sums["without_cost"] else None,
            asks_without_cost=sums["without_cost"],
            median_first_token_ms=_median(self._first_token_ms),
            median_answer_ms=_median(self._answer_ms),
            waited_s=round(self._waited_ms / 1000, 3),
            models=tuple(sorted(self._models)),
        )


def _median(values: "array[float]") -> float | None:
    return float(np.median(np.frombuffer(values))) if values else None
