"""How matchups stand, for those who ask again and again: each battle's record is read once in a process."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from shared.battle.decide import Outcome
from shared.records import BattleRecord
from shared.store import Store
from shared.tally import Tally, Winner
from shared.verdicts.scores import Played, Scores

KEPT_MATCHUPS = 64


@dataclass(frozen=True, slots=True)
class Standing:
    """A matchup so far. Both pairs are (p1's, p2's)."""

    tally: Tally
    scores: Scores
    decisions: tuple[int, int]
    """Decisions that the policy was asked for."""
    substitutions: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Battle:
    pair: int | None
    winner: Winner | None
    decisions: tuple[int, int]
    substitutions: tuple[int, int]

    @classmethod
    def of(cls, record: BattleRecord) -> "_Battle":
        asked = [decision for decision in record.decisions if decision.outcome is not Outcome.ONLY_ACTION]
        substituted = [decision for decision in asked if decision.outcome is Outcome.SUBSTITUTED]
        return cls(
            record.pair,
            record.winner,
            (sum(d.policy == "p1" for d in asked), sum(d.policy == "p2" for d in asked)),
            (sum(d.policy == "p1" for d in substituted), sum(d.policy == "p2" for d in substituted)),
        )


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
                read[index] = _Battle.of(self._store.battle(matchup_id, index))
            battles = [read[index] for index in recorded]
        return Standing(
            Tally.of(battle.winner for battle in battles),
            Scores.of(Played(battle.pair, battle.winner) for battle in battles),
            (sum(battle.decisions[0] for battle in battles), sum(battle.decisions[1] for battle in battles)),
            (sum(battle.substitutions[0] for battle in battles), sum(battle.substitutions[1] for battle in battles)),
        )
