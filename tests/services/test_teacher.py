"""A teacher's advice: on the records of battles that are played as without it, and in the rows of datasets."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import cycle
from math import nan
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.verify import verify
from services.arena.battlefields import BattleSetup, FoughtBattle, SimulatorBattlefield
from services.arena.play import play, teachers_of
from services.arena.player import Advisor, Player
from services.arena.policies import View
from services.arena.policies.search import Search
from services.reporter.run import assemble
from services.scraper.check import check
from services.scraper.datasets import build
from services.scraper.rows import NOT_ADVISED, Reader, Wanted
from services.scraper.sources import find_sources
from shared.battle.decision import Advice, Decision
from shared.battle.protocol import Seat
from shared.datasets import DatasetCard, Row
from shared.errors import BattleBroken, UnknownPolicy, UsageError
from shared.policies import parse_policy
from shared.records import ActionAdvice, BattleRecord, DecisionRecord, MatchupRequest
from shared.store import Store

ASKED = MatchupRequest(p1="heuristic", p2="random", battles=2, seed=11)


class Weighs:
    """Weighs every action by its own generator, having looked at the state."""

    contract: Mapping[str, str] = {}

    async def aclose(self) -> None:
        """Nothing is open."""

    async def advise(self, view: View) -> tuple[Advice, ...]:
        weights = [view.rng.random() ** 3 for _ in view.state.legal]
        return tuple(
            Advice(action, weight / sum(weights), view.rng.random())
            for action, weight in zip(view.legal, weights, strict=True)
        )

    async def decide(self, view: View) -> Decision:
        advice = await self.advise(view)
        return Decision(max(advice, key=lambda each: each.probability).action, advice=advice)


class Fails(Weighs):
    """Fails in a way of its own each time it is asked, and every fifth time not at all."""

    def __init__(self) -> None:
        self._ways = cycle(range(5))
        self.advised = 0

    async def advise(self, view: View) -> tuple[Advice, ...]:
        advice = await super().advise(view)
        match next(self._ways):
            case 0:
                raise KeyError("a bug of the teacher's")
            case 1:
                return advice[1:]
            case 2:
                return tuple(Advice(each.action, each.probability / 2, each.value) for each in advice)
            case 3:
                return tuple(Advice(each.action, each.probability, nan) for each in advice)
            case _:
                self.advised += 1
                return advice


def played(teacher: Weighs | None) -> list[BattleRecord]:
    records: list[BattleRecord] = []
    teachers = {"p1": teacher, "p2": teacher} if teacher else {}
    asyncio.run(play(ASKED, range(2), matchup_id="m", worker="w", on_record=records.append, teachers=teachers))  # type: ignore[arg-type]
    return sorted(records, key=lambda record: record.index)


@pytest.fixture(scope="module")
def taught() -> Sequence[BattleRecord]:
    return played(Weighs())


@pytest.fixture(scope="module")
def untaught() -> Sequence[BattleRecord]:
    return played(None)


def without(records: Sequence[BattleRecord]) -> list[Any]:
    """Their decisions without advice, and without what the clock decides."""
    taken_out = {"decision_ms": 0.0, "advice": ()}
    return [[decision.model_copy(update=taken_out) for decision in record.decisions] for record in records]


def test_the_same_battle_is_played_with_a_teacher_and_every_choice_is_advised(
    taught: Sequence[BattleRecord], untaught: Sequence[BattleRecord]
) -> None:
    decisions = [decision for record in taught for decision in record.decisions]

    assert without(taught) == without(untaught)
    assert [record.input_log for record in taught] == [record.input_log for record in untaught]
    assert all(len(each.advice) == (0 if each.legal_actions == 1 else each.legal_actions) for each in decisions)
    assert all(
        sum(said.probability for said in each.advice) == pytest.approx(1, abs=1e-3) for each in decisions if each.advice
    )
    assert all(each.order in {said.order for said in each.advice} for each in decisions if each.advice)
    assert '"advice"' not in untaught[0].model_dump_json()


@pytest.fixture(scope="module")
def failed() -> tuple[Fails, Sequence[BattleRecord]]:
    teacher = Fails()
    return teacher, played(teacher)


def test_a_teacher_that_fails_costs_its_advice_and_nothing_else(
    failed: tuple[Fails, Sequence[BattleRecord]], untaught: Sequence[BattleRecord]
) -> None:
    teacher, records = failed

    assert without(records) == without(untaught)
    assert sum(bool(each.advice) for record in records for each in record.decisions) == teacher.advised > 10


@pytest.mark.parametrize("teacher", ["heuristic", "random", "tgi:http://127.0.0.1:9", "nobody"])
def test_what_does_not_advise_is_no_teacher(teacher: str) -> None:
    request = ASKED.model_copy(update={"teacher": teacher})

    with pytest.raises(UnknownPolicy) as refused:
        asyncio.run(play(request, range(2), matchup_id="m", worker="w", on_record=print))

    assert refused.value.field == "teacher"


def test_a_format_that_the_teacher_cannot_judge_is_refused() -> None:
    request = ASKED.model_copy(update={"format": "gen8randombattle", "teacher": "search"})

    with pytest.raises(UsageError, match="gen8randombattle has none") as refused:
        asyncio.run(play(request, range(2), matchup_id="m", worker="w", on_record=print))

    assert refused.value.field == "teacher"


def test_a_policy_that_teaches_itself_is_not_advised_twice() -> None:
    request = ASKED.model_copy(update={"p1": "search?worlds=1&dice=3", "teacher": "search?dice=3&worlds=1"})

    assert teachers_of(request, AsyncExitStack()).keys() == {"p2"}


SPREAD = "||84,84,84,84,84,84||||82|,,,,,"
OURS = "Lucario||lifeorb|innerfocus|rocksmash,quickattack,poisonjab,swordsdance" + SPREAD + "normal"
SHOWN = "Milotic||leftovers|marvelscale|scald,icebeam,{}" + SPREAD + "{}"
"""The opponent's lead: two of its moves and its Tera type do not show."""
BENCH = (
    "Garchomp||lifeorb|roughskin|earthquake,dragonclaw,stoneedge,firefang" + SPREAD + "ground",
    "Gengar||choicespecs|cursedbody|shadowball,sludgewave,focusblast,trick" + SPREAD + "ghost",
)


class UpToTurn(list[str]):
    """A log in which a turn never begins."""

    def __init__(self, turn: int) -> None:
        super().__init__()
        self._last = f"|turn|{turn}"

    def extend(self, lines: Iterable[str]) -> None:
        super().extend(lines)
        if self._last in self:
            raise BattleBroken("that is enough")


class Given(SimulatorBattlefield):
    """A battle between given teams, of which the first turns are played."""

    def __init__(self, theirs: Sequence[str]) -> None:
        super().__init__()
        self._teams: Mapping[Seat, str] = {"p1": "]".join([OURS, *BENCH]), "p2": "]".join(theirs)}

    async def fight(self, setup: BattleSetup, players: Mapping[Seat, Player], log: list[str]) -> FoughtBattle:
        return await super().fight(replace(setup, teams=self._teams), players, UpToTurn(4))


def test_labels_hang_on_nothing_that_the_opponent_has_not_shown() -> None:
    request = ASKED.model_copy(update={"p1": "max-damage", "p2": "max-damage", "battles": 1})
    teacher = Search(parse_policy("search?worlds=2&dice=1&time=0.1"))
    teachers: Mapping[Seat, Advisor] = {"p1": teacher, "p2": teacher}
    one: list[BattleRecord] = []

    async def against(*theirs: str) -> None:
        field = Given(theirs)
        await play(request, [0], matchup_id="m", worker="w", on_record=one.append, battlefield=field, teachers=teachers)

    async def both() -> None:
        await against(SHOWN.format("recover,haze", "water"), *BENCH)
        await against(SHOWN.format("hypnosis,mirrorcoat", "steel"), *reversed(BENCH))
        await teacher.aclose()

    asyncio.run(both())
    first, second = one

    def of(record: BattleRecord, seat: Seat) -> list[Any]:
        return [(each.turn, each.order, each.advice) for each in record.decisions if each.seat == seat]

    assert {turn for turn, _, advice in of(first, "p1") if advice} == {1, 2, 3}
    assert of(first, "p1") == of(second, "p1")
    assert of(first, "p2") != of(second, "p2"), "the opponent itself knows better"


# ── datasets ────────────────────────────────────────────────────────────────────────────────────────


def run_file(records: Sequence[BattleRecord], folder: Path, teacher: str | None = "weighs") -> Path:
    request = ASKED.model_copy(update={"teacher": teacher})
    run = assemble(request, records, matchup_id="m", created_at="2026-01-02T03:04:05+00:00")
    path = folder / "run.json"
    path.write_text(run.model_dump_json())
    return path


def built(run: Path, contract: str = "v2") -> tuple[DatasetCard, list[Row]]:
    out = run.parent / contract
    reader = Reader(Wanted(contract))
    card = build(find_sources([str(run)], Store(str(out))), reader, out, val_fraction=0, command="test", processes=1)
    return card, [Row.model_validate_json(line) for line in (out / "train.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def dataset(taught: Sequence[BattleRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the battles that were taught."""
    run = run_file(taught, tmp_path_factory.mktemp("taught"))
    built(run)
    return run.parent / "v2"


def by_order(decision: DecisionRecord) -> dict[str, ActionAdvice]:
    return {said.order: said for said in decision.advice}


def decided(record: BattleRecord, seat: str) -> list[DecisionRecord]:
    return [each for each in record.decisions if each.seat == seat and each.advice]


def test_rows_take_the_teachers_label_and_keep_what_was_played(taught: Sequence[BattleRecord], dataset: Path) -> None:
    rows = [Row.model_validate_json(line) for line in (dataset / "train.jsonl").read_text("utf-8").splitlines()]
    card = DatasetCard.model_validate_json((dataset / "card.json").read_bytes())
    recorded = {
        (record.battle_tag, each.turn, each.seat, tuple(said.value for said in each.advice)): each
        for record in taught
        for each in record.decisions
        if each.advice
    }

    found = [recorded.pop((row.battle, row.turn, row.side, row.values)) for row in rows]

    assert len(recorded) == sum(card.dropped.decisions.values()) - card.dropped.decisions.get(
        "only one legal action", 0
    )
    assert {row.teacher for row in rows} == {"weighs"} and all(row.exact for row in rows)
    for row, decision in zip(rows, found, strict=True):
        assert row.probabilities == pytest.approx([said.probability for said in decision.advice], abs=1e-4)
        assert row.completion == row.legal[row.probabilities.index(max(row.probabilities))]
        assert row.kind.startswith("tera") == row.completion.endswith(" tera")
        assert row.played == row.legal[list(by_order(decision)).index(decision.order)]
    assert card.counts["teacher"] == {"weighs": len(rows)}
    assert card.advice is not None and card.advice.rows == len(rows)
    assert card.advice.was_played == pytest.approx(
        sum(row.played == row.completion for row in rows) / len(rows), abs=1e-6
    )
    losses = [max(row.values) - row.values[row.legal.index(row.played or "")] for row in rows]
    assert card.advice.loss == pytest.approx(sum(losses) / len(rows), abs=1e-6)
    assert check(dataset).findings == {}
    assert "hold a teacher's advice" in (dataset / "README.md").read_text("utf-8")


def test_a_contract_that_cannot_express_an_action_shares_out_its_probability(
    taught: Sequence[BattleRecord], tmp_path: Path
) -> None:
    _, rows = built(run_file(taught, tmp_path), "v1")

    assert rows and all(len(row.probabilities) == len(row.values) == len(row.legal) for row in rows)
    assert all(sum(row.probabilities) == pytest.approx(1, abs=1e-4) for row in rows)
    assert check(tmp_path / "v1").findings == {}


def test_advice_of_other_decisions_is_not_believed(taught: Sequence[BattleRecord], tmp_path: Path) -> None:
    # The decisions of one seat of one battle, each told as if it were the one before.
    first, second = taught
    moved = [each for each in first.decisions if each.seat == "p1"]
    told = iter([*moved[1:], moved[0]])
    shifted = first.model_copy(
        update={"decisions": tuple(next(told) if each.seat == "p1" else each for each in first.decisions)}
    )

    card, rows = built(run_file([shifted, second], tmp_path))

    assert {(row.battle, row.side) for row in rows} == {("m-00000", "p2"), ("m-00001", "p1"), ("m-00001", "p2")}
    assert card.dropped.decisions[NOT_ADVISED] == len(decided(first, "p1"))


def test_what_was_said_before_a_refusal_counts(taught: Sequence[BattleRecord], tmp_path: Path) -> None:
    # As where an unseen ability traps: the order is refused, and the same question is put with fewer actions.
    record = taught[0]
    accepted = next(each for each in decided(record, "p1") if each.action_type == "move")
    other = next(said.order for said in accepted.advice if said.order != accepted.order)
    refused = accepted.model_copy(update={"order": other, "refused_by_simulator": "[Unavailable choice] Can't switch"})
    at = record.decisions.index(accepted)
    again = accepted.model_copy(update={"advice": accepted.advice[1:]})
    decisions = (*record.decisions[:at], refused, again, *record.decisions[at + 1 :])

    _, rows = built(run_file([record.model_copy(update={"decisions": decisions})], tmp_path))

    (row,) = [row for row in rows if (row.side, row.values) == ("p1", tuple(said.value for said in accepted.advice))]
    assert row.played == row.legal[list(by_order(accepted)).index(accepted.order)]


def test_where_the_teacher_failed_what_was_played_is_no_label(
    failed: tuple[Fails, Sequence[BattleRecord]], tmp_path: Path
) -> None:
    teacher, records = failed

    card, rows = built(run_file(records, tmp_path))

    assert len(rows) <= teacher.advised
    assert card.dropped.decisions[NOT_ADVISED] > teacher.advised
    assert all(row.teacher for row in rows)


IS_NONE = "a teacher's advice is none"
DAMAGE: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "sum": (IS_NONE, lambda row: {"probabilities": [number * 0.9 for number in row["probabilities"]]}),
    "length": (IS_NONE, lambda row: {"values": row["values"][1:]}),
    "negative": (IS_NONE, lambda row: {"probabilities": [2, -1, *([0] * (len(row["legal"]) - 2))]}),
    "below": (IS_NONE, lambda row: {"values": [-0.1, *row["values"][1:]]}),
    "nan": (IS_NONE, lambda row: {"values": [nan, *row["values"][1:]]}),
    "played": ("what was played beside a teacher is not among the legal actions", lambda row: {"played": "pass"}),
    "nobody": ("advice without a teacher", lambda row: {"teacher": None}),
    "label": (
        "a label is not what its teacher would take most often",
        lambda row: {"completion": row["legal"][row["probabilities"].index(min(row["probabilities"]))]},
    ),
    "card": (
        "the card tells other advice",
        lambda row: {"values": [float(each != row["played"]) for each in row["legal"]]},
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_broken_advice_is_found(dataset: Path, tmp_path: Path, damage: str) -> None:
    finding, changes = DAMAGE[damage]
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    first, *rest = map(json.loads, (copy / "train.jsonl").read_text("utf-8").splitlines())
    lines = [json.dumps(row) for row in ({**first, **changes(first)}, *rest)]
    (copy / "train.jsonl").write_text("\n".join(lines) + "\n", "utf-8")

    assert check(copy, quick=True).findings[finding].examples


def test_a_run_with_advice_is_verified_and_advice_on_other_actions_is_found(taught: Sequence[BattleRecord]) -> None:
    run = assemble(ASKED, taught, matchup_id="m", created_at="2026-01-02T03:04:05+00:00")
    at = next(number for number, stat in enumerate(run.turn_stats) if stat.advice)
    advice = (run.turn_stats[at].advice[0].model_copy(update={"order": "move 9"}), *run.turn_stats[at].advice[1:])
    stats = list(run.turn_stats)
    stats[at] = stats[at].model_copy(update={"advice": advice})

    assert verify(run).difference is None
    found = verify(run.model_copy(update={"turn_stats": tuple(stats)})).difference
    assert found is not None and found.where.endswith("advice")
