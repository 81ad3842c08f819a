"""Copies of a battle go on like the battle, in every format; a battle's input log gives positions, and its review."""

import asyncio
import json
import subprocess
from collections.abc import Sequence
from math import exp, tanh
from pathlib import Path

import pytest

from shared.errors import InputRefused
from shared.simulator import find_node
from shared.simulator.inputlog import parse_inputlog
from shared.simulator.simulator import Simulator
from shared.value import HiddenUnit, ValueCard, ValueModel
from tests.services.simulated import replay

ROOT = Path(__file__).parents[2]
TEAMS = ",".join(str(ROOT / f"services/arena/sample_teams/gen9ou-{name}.txt") for name in ("balance", "offense"))
GOLDEN = Path(__file__).with_name("golden_positions.json")
CARD = ValueCard(
    battles=1,
    held_out_battles=1,
    positions=1,
    policies=(),
    versions=(),
    log_loss=0.5,
    variance_left=0.5,
    copies=1,
    calibration=(),
)


@pytest.mark.parametrize("format", ["gen9randombattle", f"gen9ou={TEAMS}", "gen7randombattle", "gen1randombattle"])
def test_a_copy_prints_the_same_log_to_the_end(format: str) -> None:
    benchmark = ROOT / "benchmarks" / "branches.js"
    done = subprocess.run(
        [str(find_node(None)), str(benchmark), "1", "17", format], capture_output=True, text=True, check=True
    )

    found = json.loads(done.stdout)
    assert found["faults"] == []
    assert all(each["copies"] and each["steps"] > 10 for each in found["formats"].values())


@pytest.fixture(scope="module")
def input_log() -> Sequence[str]:
    async def played() -> Sequence[str]:
        async with Simulator() as simulator:
            return (await replay(simulator, 5)).inputlog or ()

    return asyncio.run(played())


def model(features: Sequence[str], **weights: float) -> ValueModel:
    """A value model that weighs these features, with one hidden unit that sees both sides."""
    ones, halves = (1.0,) * len(features), tuple(0.5 if name in weights else 0.0 for name in features)
    return ValueModel(
        format="gen9randombattle",
        features=tuple(features),
        scales=ones,
        weights=tuple(weights.get(name, 0.0) for name in features),
        hidden=(HiddenUnit(own=halves, other=ones, bias=0.1, out=0.3),),
        card=CARD,
    )


async def test_the_features_of_a_battle_are_those_of_the_golden_file(input_log: Sequence[str]) -> None:
    async with Simulator() as simulator:
        found = await simulator.positions(parse_inputlog(input_log), copies=1, dice="golden")

    told = {"features": found["features"], "outcome": found["outcome"], "positions": [found["first"]]}
    told["positions"] += [step["after"] for step in found["steps"][:12]]
    if not GOLDEN.exists():  # Delete it to write it anew, and read the difference.
        GOLDEN.write_text(json.dumps(told, separators=(",", ":")).replace("]],[[", "]],\n[[") + "\n")
    assert told == json.loads(GOLDEN.read_text())


async def test_a_review_is_the_same_every_time_and_other_dice_find_other_luck(input_log: Sequence[str]) -> None:
    log = parse_inputlog(input_log)
    async with Simulator() as simulator:
        features = (await simulator.positions(log, copies=1, dice="a"))["features"]
        value = model(features, living=1.0, hp=0.5)
        first, again, others = [await simulator.review(log, value, copies=3, dice=dice) for dice in ("a", "a", "b")]

    assert first["steps"] == again["steps"]
    assert first["outcome"] == others["outcome"]
    assert [step["value"] for step in first["steps"]] == [step["value"] for step in others["steps"]]
    assert [step["luck"] for step in first["steps"]] != [step["luck"] for step in others["steps"]]
    assert first["steps"][-1]["value"] == first["outcome"]


REUSED_DICE = """
const [simulator] = process.argv.slice(1);
const {Battle, Dex, PRNG} = require(`${simulator}/node_modules/pokemon-showdown`);
const {NAMES} = require(`${simulator}/position.js`);
const {review} = require(`${simulator}/review.js`);
// Once a Pokémon that hits in 30 of 100 has hit, it has won. Every other position is worth a half.
const team = (species, move) => [{species, moves: [move], level: 100, ability: 'No Ability', gender: 'F'}];
const zeros = NAMES.map(() => 0), value = {features: NAMES, weights: zeros, scales: NAMES.map(() => 1), hidden: []};
const mean = {ours: 0, reused: 0};
for (let battle = 0; battle < 100; battle++) {
	const seed = `sodium,${battle.toString(16).padStart(32, '0')}`;
	const inputs = [
		['player', 'p1', {name: 'one', team: team('Articuno', 'sheercold')}],
		['player', 'p2', {name: 'two', team: team('Magikarp', 'splash')}],
	];
	const real = new Battle({formatid: 'gen9customgame', seed});
	for (const [, seat, options] of inputs) real.setPlayer(seat, options);
	while (!real.ended) {
		for (const seat of ['p1', 'p2']) {
			inputs.push(['choose', seat, real.requestState === 'teampreview' ? 'team 1' : 'move 1']);
			real.choose(seat, inputs.at(-1)[2]);
		}
	}
	const command = {start: {formatid: 'gen9customgame', seed}, inputs, value, copies: 1, dice: `fair/${battle}`};
	const luck = dice => review(Battle, Dex, command, dice).steps.reduce((sum, step) => sum + step.luck, 0) / 100;
	mean.ours += luck();
	mean.reused += luck(class { constructor() { return new PRNG(seed).rng; } });
}
console.log(JSON.stringify(mean));
"""


def test_other_dice_give_no_luck_on_average_and_the_real_ones_thrown_again_do() -> None:
    """A battle that still goes on has missed at first, so with its first dice every copy misses."""
    command = [str(find_node(None)), "-e", REUSED_DICE, str(ROOT / "shared/simulator")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert abs(found["ours"]) < 0.1
    assert found["reused"] > 0.25


async def test_what_p2_sees_is_one_less_what_p1_sees(input_log: Sequence[str]) -> None:
    log = parse_inputlog(input_log)
    async with Simulator() as simulator:
        found = await simulator.positions(log, copies=1, dice="a")
        value = model(found["features"], living=1.0, lead=-0.5)
        reviewed = await simulator.review(log, value, copies=1, dice="a")

    def worth(x1: Sequence[float], x2: Sequence[float]) -> float:
        logit = sum(w * (a - b) for w, a, b in zip(value.weights, x1, x2, strict=True))
        for unit in value.hidden:
            straight = sum(o * a + t * b for o, t, a, b in zip(unit.own, unit.other, x1, x2, strict=True)) + unit.bias
            turned = sum(o * b + t * a for o, t, a, b in zip(unit.own, unit.other, x1, x2, strict=True)) + unit.bias
            logit += unit.out * (tanh(straight) - tanh(turned))
        return 1 / (1 + exp(-logit))

    x1, x2 = found["first"]
    assert reviewed["first"] == pytest.approx(worth(x1, x2), abs=1e-3)
    assert worth(x1, x2) == pytest.approx(1 - worth(x2, x1))


@pytest.mark.parametrize(
    ("copies", "dice", "why"),
    [(-1, "a", "odd number of copies"), (1000, "a", "odd number of copies"), (1, "x" * 1000, "odd dice")],
)
async def test_what_cannot_be_reviewed_is_refused(input_log: Sequence[str], copies: int, dice: str, why: str) -> None:
    async with Simulator() as simulator:
        with pytest.raises(InputRefused, match=why):
            await simulator.positions(parse_inputlog(input_log), copies=copies, dice=dice)


async def test_a_model_of_other_features_is_refused(input_log: Sequence[str]) -> None:
    async with Simulator() as simulator:
        with pytest.raises(InputRefused, match="other features"):
            await simulator.review(parse_inputlog(input_log), model(("hp",), hp=1.0), copies=1, dice="a")


async def test_a_choice_that_the_battle_does_not_have_is_refused(input_log: Sequence[str]) -> None:
    at = next(number for number, line in enumerate(input_log) if line.startswith(">p1 "))
    log = parse_inputlog((*input_log[:at], ">p1 move nosuchmove", *input_log[at + 1 :]))
    async with Simulator() as simulator:
        with pytest.raises(InputRefused, match="cannot be made"):
            await simulator.positions(log, copies=1, dice="a")
