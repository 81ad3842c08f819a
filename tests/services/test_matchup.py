"""Matchups on the real simulator: pairs, seeds, and one battle's trouble kept from the others."""

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from services.arena.battlefields import BattleSetup, FoughtBattle, SimulatorBattlefield
from services.arena.play import SAMPLE_TEAMS, play
from services.arena.player import Player
from shared.battle.decision import Outcome
from shared.battle.protocol import Seat
from shared.errors import AlphaStralError, HostUnfit, InvalidTeam, UnknownFormat, UnknownPolicy, UsageError
from shared.records import BattleRecord, MatchupRequest


async def played(request: MatchupRequest, **more: object) -> list[BattleRecord]:
    records: list[BattleRecord] = []
    await play(
        request,
        range(request.battles),
        matchup_id="m",
        worker="test",
        on_record=records.append,
        **more,  # type: ignore[arg-type]
    )
    return sorted(records, key=lambda record: record.index)


def matchup(p1: str = "random", p2: str = "random", battles: int = 4, **more: object) -> MatchupRequest:
    return MatchupRequest.model_validate({"p1": p1, "p2": p2, "battles": battles, "seed": 11, **more})


def logs(records: list[BattleRecord]) -> list[list[str]]:
    return [[line for line in record.public_log if not line.startswith("|t:|")] for record in records]


def team_lines(record: BattleRecord, seat: Seat) -> list[str]:
    """The species that a seat was seen to send in."""
    return [line.split("|")[3] for line in record.public_log if line.startswith(f"|switch|{seat}")][:1]


async def test_the_same_seed_gives_the_same_logs_at_any_concurrency() -> None:
    one = await played(matchup("heuristic", "random", 6, concurrency=1))
    many = await played(matchup("heuristic", "random", 6, concurrency=6))

    assert logs(one) == logs(many)
    assert [r.winner for r in one] == [r.winner for r in many]
    assert all(r.broken is None for r in one)


async def test_another_seed_gives_other_battles() -> None:
    assert logs(await played(matchup())) != logs(await played(matchup(seed=12)))


async def test_a_pair_has_the_same_seats_and_teams_with_the_policies_exchanged() -> None:
    first, second = await played(matchup("heuristic", "max-damage", 2))

    assert (first.pair, second.pair) == (0, 0)
    assert (first.p1_seat, second.p1_seat) == ("p1", "p2")
    assert first.seeds == second.seeds
    for seat in ("p1", "p2"):
        assert team_lines(first, seat) == team_lines(second, seat)
    assert "|player|p1|heuristic (p1)||" in first.public_log
    assert "|player|p1|max-damage (p2)||" in second.public_log


async def test_a_policy_against_itself_makes_both_battles_of_a_pair_alike() -> None:
    first, second = await played(matchup("random", "random", 2))

    renamed = [
        line.replace("(p1)", "(p?)").replace("(p2)", "(p1)").replace("(p?)", "(p2)") for line in logs([second])[0]
    ]
    assert renamed == logs([first])[0]


async def test_every_decision_is_recorded_with_its_policy_seat_and_order() -> None:
    (record,) = await played(matchup("heuristic", "random", 1))

    moves = [decision for decision in record.decisions if decision.action_type == "move"]
    assert {decision.policy for decision in record.decisions} == {"p1", "p2"}
    assert all(decision.order.startswith("move ") and decision.move_id and decision.action for decision in moves)
    assert any(decision.effectiveness not in (None, 1.0) for decision in moves)
    assert {decision.outcome for decision in record.decisions} <= {Outcome.CHOSEN, Outcome.ONLY_ACTION}
    assert record.turns == max(decision.turn for decision in record.decisions)
    assert record.input_log[0].startswith(">start")
    assert "p1_team" in record.seeds.model_dump() if record.seeds else False


class FailsOn(SimulatorBattlefield):
    """The real battlefield, but one battle's breaks."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag

    async def fight(self, setup: BattleSetup, players: Mapping[Seat, Player], log: list[str]) -> FoughtBattle:
        if setup.tag == self.tag:
            raise RuntimeError("a bug\nin one battle")
        return await super().fight(setup, players, log)


async def test_a_battle_that_breaks_is_an_outcome_and_its_neighbours_play_on() -> None:
    records = await played(matchup(battles=4), battlefield=FailsOn("m-00001"))

    assert [record.winner is None for record in records] == [False, True, False, False]
    assert records[1].broken == "RuntimeError: a bug in one battle"
    assert logs(records)[0] == logs(await played(matchup(battles=4)))[0]


class DiesOn(SimulatorBattlefield):
    """The real battlefield, whose Node.js is killed in the middle of the first goes at some battles."""

    def __init__(self, goes: dict[str, int]) -> None:
        super().__init__()
        self.goes = goes
        """Tag → how many goes at that battle end so."""

    async def fight(self, setup: BattleSetup, players: Mapping[Seat, Player], log: list[str]) -> FoughtBattle:
        if self.goes.get(setup.tag, 0):
            self.goes[setup.tag] -= 1
            log = Killing(lambda: os.kill(self.pid or 0, signal.SIGKILL))
        return await super().fight(setup, players, log)


class Killing(list[str]):
    """A battle's log that does something once the battle is some turns old."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self.then = then

    def extend(self, lines: Iterable[str]) -> None:
        super().extend(lines)
        if "|turn|3" in self:
            self.then()


async def test_battles_whose_simulator_is_killed_are_played_again_from_their_seeds() -> None:
    # One battle's kill takes the others with it.
    killed = await played(matchup(battles=4, concurrency=4), battlefield=DiesOn({"m-00001": 1, "m-00002": 2}))

    assert [record.broken for record in killed] == [None] * 4
    assert logs(killed) == logs(await played(matchup(battles=4)))


async def test_a_battle_that_ends_the_simulator_every_time_is_broken_and_no_other_is() -> None:
    killed = await played(matchup(battles=4, concurrency=4), battlefield=DiesOn({"m-00001": 99}))

    assert [record.winner is None for record in killed] == [False, True, False, False]
    assert "status -9" in (killed[1].broken or "")


async def test_where_the_simulator_cannot_be_started_again_no_battle_is_broken(tmp_path: Path) -> None:
    class Vanishes(DiesOn):
        async def fight(self, setup: BattleSetup, players: Mapping[Seat, Player], log: list[str]) -> FoughtBattle:
            self._node = tmp_path / "no-node"
            return await super().fight(setup, players, log)

    records: list[BattleRecord] = []

    with pytest.raises(AlphaStralError, match=r"no-node"):
        await play(
            matchup(battles=4),
            range(4),
            matchup_id="m",
            worker="test",
            on_record=records.append,
            battlefield=Vanishes({"m-00000": 9}),
        )

    assert [record for record in records if record.broken] == []


async def test_a_host_without_a_node_that_runs_is_unfit_whatever_was_asked(tmp_path: Path) -> None:
    for node in (tmp_path / "none", Path("/bin/false")):
        with pytest.raises(HostUnfit, match=r"no Node\.js"):
            await played(matchup(), battlefield=SimulatorBattlefield(node))


async def test_no_battle_begins_once_the_arena_is_stopping() -> None:
    records: list[BattleRecord] = []

    await play(
        matchup(battles=10, concurrency=2),
        range(10),
        matchup_id="m",
        worker="test",
        on_record=records.append,
        stopping=lambda: len(records) >= 3,
    )

    assert 3 <= len(records) <= 4


@pytest.mark.parametrize(
    ("request_", "error", "field"),
    [
        (matchup(p1="nosuch"), UnknownPolicy, "p1"),
        (matchup(p2="random?x=1"), UnknownPolicy, "p2"),
        (matchup(format="gen9nosuch"), UnknownFormat, "format"),
        (matchup(team2="Pikachu"), UsageError, "team2"),
        (matchup(battlefield="server"), UsageError, "pairs"),
        (matchup(format="gen9ou", team1="Koraidon\n- Tackle"), InvalidTeam, "team1"),
    ],
)
async def test_what_cannot_be_played_is_refused_before_the_first_battle(
    request_: MatchupRequest, error: type[UsageError], field: str
) -> None:
    with pytest.raises(error) as refused:
        await played(request_)

    assert refused.value.field == field


async def test_a_team_format_without_teams_uses_two_of_ours_and_names_them() -> None:
    first, second = await played(matchup("heuristic", "random", 2, format="gen9ou"))

    assert first.teams == second.teams == ("gen9ou-balance", "gen9ou-offense")
    assert first.broken is None and second.broken is None
    leads = [decision for decision in first.decisions if decision.action_type == "lead"]
    assert [lead.order.split()[0] for lead in leads] == ["team", "team"]


async def test_a_given_team_is_played() -> None:
    path = Path(__file__).parents[2] / "services/arena/sample_teams/gen9ou-offense.txt"
    (record,) = await played(matchup(battles=1, format="gen9ou", team1=path.read_text()))

    assert record.teams is not None and record.teams[0] == "team1"
    assert any(line.startswith("|poke|p1|Glimmora") for line in record.public_log)


BATTLES = int(os.environ.get("BATTLES_A_GENERATION", "2"))


@pytest.mark.parametrize(("p1", "p2"), [("heuristic", "max-damage"), ("random", "typed")])
@pytest.mark.parametrize("generation", range(1, 10))
async def test_in_every_generation_no_order_is_refused_and_no_baseline_substituted(
    generation: int, p1: str, p2: str
) -> None:
    for record in await played(matchup(p1, p2, BATTLES, format=f"gen{generation}randombattle")):
        assert record.broken is None
        assert not [d for d in record.decisions if (d.refused_by_simulator or "").startswith("[Invalid choice]")]
        assert not [d.reasoning for d in record.decisions if d.outcome is Outcome.SUBSTITUTED]


GEN1_TEAM = """
Tauros
EVs: 252 HP / 252 Atk / 252 Def / 252 SpA / 252 SpD / 252 Spe
- Body Slam
- Earthquake
- Blizzard
- Hyper Beam

Starmie
EVs: 252 HP / 252 Atk / 252 Def / 252 SpA / 252 SpD / 252 Spe
- Thunderbolt
- Blizzard
- Recover
- Thunder Wave
"""
MONO_TEAM = """
Gholdengo @ Leftovers
Ability: Good as Gold
EVs: 252 HP / 252 Spe
Tera Type: Steel
- Make It Rain
- Shadow Ball

Corviknight @ Leftovers
Ability: Pressure
EVs: 252 HP / 252 Spe
Tera Type: Steel
- Brave Bird
- Roost
"""
NATIONAL_TEAM = """
Charizard @ Charizardite X
Ability: Blaze
EVs: 252 HP / 252 Spe
Tera Type: Fire
- Flare Blitz
- Dragon Claw

Gyarados @ Waterium Z
Ability: Intimidate
EVs: 252 HP / 252 Spe
Tera Type: Water
- Waterfall
- Earthquake
"""


@pytest.mark.parametrize(
    ("format", "team"),
    [
        ("gen1ou", GEN1_TEAM),
        ("gen9monotype", MONO_TEAM),
        ("gen9nationaldex", NATIONAL_TEAM),
        ("gen9ubers", (SAMPLE_TEAMS / "gen9ou-balance.txt").read_text()),
    ],
)
async def test_other_singles_formats_are_played_with_teams_of_ones_own(format: str, team: str) -> None:
    (record,) = await played(matchup("typed", "random", 1, format=format, team1=team, team2=team))

    assert record.broken is None and record.winner is not None
    assert record.teams == ("team1", "team2")


async def test_a_format_without_teams_of_ours_wants_both() -> None:
    with pytest.raises(UsageError, match="gen1ou is played with teams of your own") as told:
        await played(matchup(battles=1, format="gen1ou", team1=GEN1_TEAM))
    assert told.value.field == "team2"
