"""How matchups stand, for those who ask again and again: each battle's record is read once in a process."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from shared.battle.protocol import Seat
from shared.matchups import Matchups
from shared.records import BattleRecord, MatchupRequest
from shared.store import Store
from shared.tournaments import DecisionTotals, MatchupResult
from shared.verdicts.scores import Played, Scores, Tally, own_choices

KEPT_MATCHUPS = 64


@dataclass(frozen=True, slots=True)
class Standing:
    """A matchup so far."""

    tally: Tally
    scores: Scores
    own_choices: Scores
    """Of the battles in which nobody's decision was substituted."""
    p1: DecisionTotals
    p2: DecisionTotals

    def result(self, matchup_id: str, request: MatchupRequest) -> MatchupResult:
        """What it says in a table of ratings."""
        return MatchupResult(
            matchup_id=matchup_id,
            p1=request.p1,
            p2=request.p2,
            format=request.format,
            as_played=self.scores,
            own_choices=self.own_choices,
            broken=self.tally.broken,
            p1_decisions=self.p1,
            p2_decisions=self.p2,
        )

    @property
    def cost_usd(self) -> float | None:
        """What the models of both sides cost so far; None where that is not known of every ask."""
        both = self.p1 + self.p2
        return None if both.asks_without_cost else both.cost_usd


@dataclass(frozen=True, slots=True)
class _Battle:
    played: Played
    p1: DecisionTotals
    p2: DecisionTotals

    @classmethod
    def of(cls, record: BattleRecord) -> "_Battle":
        p1, p2 = _decisions(record, "p1"), _decisions(record, "p2")
        return cls(Played(record.pair, record.winner, bool(p1.substituted or p2.substituted)), p1, p2)


def _decisions(record: BattleRecord, policy: Seat) -> DecisionTotals:
    return DecisionTotals.of(decision for decision in record.decisions if decision.policy == policy)


class Standings:
    """The standings of a store's matchups. A record is written once and never changes, so it is read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: OrderedDict[str, dict[int, _Battle]] = OrderedDict()
        self._lock = Lock()

    def of(self, matchup_id: str, recorded: frozenset[int]) -> Standing:
        """The standing after the battles `recorded`."""
        with self._lock:
            read = self._read.setdefault(matchup_id, {})
            self._read.move_to_end(matchup_id)
            if len(self._read) > KEPT_MATCHUPS:
                self._read.popitem(last=False)
            for index in recorded - read.keys():
                read[index] = _Battle.of(Matchups(self._store).battle(matchup_id, index))
            battles = [read[index] for index in sorted(recorded)]
        return Standing(
            Tally.of(battle.played.winner for battle in battles),
            Scores.of(battle.played for battle in battles),
            Scores.of(own_choices(battle.played for battle in battles)),
            sum((battle.p1 for battle in battles), DecisionTotals()),
            sum((battle.p2 for battle in battles), DecisionTotals()),
        )
