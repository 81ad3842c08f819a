"""The baselines and moves that poke-env knows by another name, or by no power, where the request tells one."""

from random import Random

from services.arena.player import View
from services.arena.policies import make_policy
from services.arena.policies.baselines import max_damage
from shared.battle.action import Move, legal_actions
from shared.battle.decision import Decision
from shared.battle.protocol import SEATS, Seat
from shared.battle.tracker import Tracker
from shared.simulator.simulator import SeatSetup, Simulator

NAMES: dict[Seat, str] = {"p1": "Red", "p2": "Blue"}


async def first_turn(simulator: Simulator, generation: int, moves: str) -> View:
    """What a Tauros with these moves is asked in the first turn."""
    format_id = f"gen{generation}customgame"
    team = await simulator.validate_team(format_id, f"Tauros\nAbility: Intimidate\n{moves}")
    seats = {seat: SeatSetup(NAMES[seat], team=team) for seat in SEATS}
    battle = await simulator.open(format_id, f"sodium,{1:032x}", seats)
    tracker = Tracker(generation, "p1", NAMES)
    step = await battle.step()
    tracker.hear(step.lines)
    if step.requests["p1"].get("teamPreview"):
        battle.choose({"p1": "team 1", "p2": "team 1"})
        step = await battle.step()
        tracker.hear(step.lines)
    battle.close()
    request = step.requests["p1"]
    tracker.request(request)
    return View(request, legal_actions(request), Random(1), tracker)


async def test_a_move_is_worth_the_power_that_the_request_tells() -> None:
    best = {
        "- Splash\n- Hidden Power Ground": "hiddenpower",
        "- Hidden Power Ground\n- Return": "return",
        "- Pound\n- Return\n- Splash": "return",
        "Happiness: 0\n- Frustration\n- Pound\n- Return": "frustration",
        "Happiness: 0\n- Return\n- Pound": "pound",
    }
    chosen: dict[tuple[int, str, str], object] = {}
    async with Simulator() as simulator:
        for generation in (2, 3, 6, 7):
            for moves in best:
                view = await first_turn(simulator, generation, moves)
                asked = {name: await make_policy(name).decide(view) for name in ("max-damage", "heuristic", "typed")}
                asked["the substitute"] = Decision(max_damage(view) or view.legal[-1])
                for name, made in asked.items():
                    assert isinstance(made.action, Move)
                    chosen[generation, moves, name] = (made.action.id, made.outcome)

    assert chosen == {(generation, moves, name): (best[moves], "chosen") for generation, moves, name in chosen}
