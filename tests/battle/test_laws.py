"""What must hold of every state met in 200 battles on the simulator."""

import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest
from pydantic import TypeAdapter
from tokenizers import Tokenizer

from shared.battle.action import Action, Move, Pass, Switch
from shared.battle.completion import parse, regex, render
from shared.battle.contract import CONTRACTS
from shared.battle.protocol import SEATS, other
from shared.battle.state import BattleState, PokemonState, from_json
from tests.battle.battles import Met, Played, Told

# A busy machine may take minutes over the battles.
pytestmark = pytest.mark.timeout(900)

# SmolLM2's own tokenizer (Apache-2.0), cut down to the pieces that Pokémon names and our prompts are made of. It counts
# those exactly; a word from elsewhere has lost its merges and counts as more tokens, never as fewer.
TOKENIZER = Path(__file__).parent / "data" / "smollm2_tokenizer.json"
SYSTEM_TEXT = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
TOKEN_LIMIT = 512
AVERAGE_TOKENS = {"v2": 300, "v3": 350}


def all_told(played: list[Played], version: str) -> Iterator[Told]:
    return (told for battle in played for told in battle.told[version])


def all_states(played: list[Played]) -> Iterator[BattleState]:
    return (state for battle in played for met in battle.met for state in met.states.values())


def test_every_kind_of_action_was_met(played: list[Played]) -> None:
    legal = {action for told in all_told(played, "v2") for action in told.legal}

    assert {type(action) for action in legal} >= {Move, Switch}
    assert {action.gimmick for action in legal if isinstance(action, Move)} >= {
        *(None, "tera", "dynamax", "zmove", "mega"),
    }
    assert {state.asked for state in all_states(played)} == {"move", "switch", "lead"}
    assert len(played) == 200


@pytest.mark.parametrize("version", CONTRACTS)
def test_reading_what_was_written_gives_the_action_back(played: list[Played], version: str) -> None:
    for told in all_told(played, version):
        for action in told.legal:
            text = render(action, told.completions)
            assert text is None or parse(text, told.completions) == action


def test_v2_can_say_every_action(played: list[Played]) -> None:
    for told in all_told(played, "v2"):
        assert tuple(told.completions.values()) == told.legal


def test_v1_can_say_every_move_without_a_gimmick_and_nothing_else(played: list[Played]) -> None:
    def says(action: Action) -> bool:
        return isinstance(action, Move) and action.gimmick is None

    for told in all_told(played, "v1"):
        assert list(told.completions.values()) == [action for action in told.legal if says(action)]


@pytest.mark.parametrize("version", CONTRACTS)
def test_the_constraint_matches_the_completions_and_no_prefix_of_them(played: list[Played], version: str) -> None:
    for battle in played:
        for told in battle.told[version][::25]:
            pattern = re.compile(regex(told.completions))
            for text in told.completions:
                assert pattern.fullmatch(text)
                assert not pattern.fullmatch(text + " ")
                assert text[:-1] in told.completions or not pattern.fullmatch(text[:-1])


def test_v2_names_every_action_in_the_prompt(played: list[Played]) -> None:
    for told in all_told(played, "v2"):
        lines = told.prompt[told.prompt.index("Choose:") :].splitlines()[1:]
        for text, action in told.completions.items():
            flag = f" +{action.gimmick}" if isinstance(action, Move) and action.gimmick else ""
            base = text.removesuffix(f" {flag[2:]}") if flag else text
            assert any(line.endswith(text) or (f" {base}" in line and flag in line) for line in lines), (text, lines)


def test_v3_gives_every_action_a_line_of_its_own(played: list[Played]) -> None:
    for told in all_told(played, "v3"):
        lines = told.prompt.partition("\nChoose:\n")[2].split("\n")
        assert len(lines) == len(told.completions)
        for text in told.completions:
            assert sum(line == text or line.endswith(f": {text}") for line in lines) == 1


def test_v3_begins_with_the_strongest_of_each_kind(played: list[Played]) -> None:
    for told in all_told(played, "v3"):
        lines = told.prompt.partition("\nChoose:\n")[2].split("\n")
        actions = [
            next(action for text, action in told.completions.items() if line == text or line.endswith(f": {text}"))
            for line in lines
        ]
        kinds = [(isinstance(action, Switch), getattr(action, "gimmick", None) is not None) for action in actions]
        hits = [int(found[1]) if (found := re.search(r"hits (\d+)", line)) else -1 for line in lines]
        assert kinds == sorted(kinds), lines
        for kind in {(False, False), (False, True)}:
            of_kind = [hit for hit, its_kind in zip(hits, kinds, strict=True) if its_kind == kind]
            assert of_kind == sorted(of_kind, reverse=True), lines


@pytest.mark.parametrize("version", AVERAGE_TOKENS)
def test_prompts_fit_512_tokens_and_are_shorter_on_average(played: list[Played], version: str) -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))

    def count(*texts: str) -> int:
        # <|im_start|> and <|im_end|> of three messages are six tokens, the newline behind each <|im_end|> three.
        return 9 + sum(len(encoded.ids) for encoded in tokenizer.encode_batch_fast(list(texts)))

    choices = [told for told in all_told(played, version) if len(told.legal) > 1]
    lengths = [
        count(f"system\n{SYSTEM_TEXT}", f"user\n{told.prompt}", f"assistant\n{max(told.completions, key=len)}")
        for told in choices
    ]

    assert sum(length <= TOKEN_LIMIT for length in lengths) >= 0.99 * len(lengths)
    assert mean(lengths) <= AVERAGE_TOKENS[version]


@pytest.mark.parametrize("version", CONTRACTS)
def test_a_prompt_has_no_line_that_a_name_could_have_broken(played: list[Played], version: str) -> None:
    for told in all_told(played, version):
        assert all(line.isprintable() for line in told.prompt.split("\n"))


def test_a_state_survives_json(played: list[Played]) -> None:
    for state in list(all_states(played))[::10]:
        assert from_json(TypeAdapter(BattleState).dump_json(state), "a state") == state


def test_every_line_is_taken_in(played: list[Played]) -> None:
    assert [line for battle in played for line in battle.untracked] == []


def test_a_switch_sends_in_the_pokemon_it_names(played: list[Played]) -> None:
    for state in all_states(played):
        for action in state.legal:
            if isinstance(action, Switch):
                assert state.switched_to(action).species == action.name


def test_what_one_side_sees_is_true_of_the_other(played: list[Played]) -> None:
    # Each side's knowledge of its own team comes from its request, that of the opponent from the log alone.
    compared = 0
    for _, own, seen in actives(played):
        if disguised(own, seen):
            continue
        compared += 1
        assert (seen.species, seen.types, seen.level) == (own.species, own.types, own.level)
        assert (seen.status, seen.boosts, seen.effects) == (own.status, own.boosts, own.effects)
        assert seen.terastallized == own.terastallized
        assert seen.transformed_into == own.transformed_into
        assert seen.tera_type in (None, own.tera_type)
        assert seen.item in (None, own.item)
        assert abs(seen.hp_percent - own.hp_percent) <= 1
    assert compared > 1000


def test_no_move_is_seen_that_the_pokemon_does_not_have(played: list[Played]) -> None:
    for met, own, seen in actives(played):
        if not disguised(own, seen):
            mine = {bare(move.name) for move in own.moves}
            assert {bare(move.name) for move in seen.moves} <= mine, met


def actives(played: list[Played]) -> Iterator[tuple[Met, PokemonState, PokemonState]]:
    """Each active Pokémon as its own side knows it and as the other side sees it, where both were asked."""
    for battle in played:
        for met in battle.met:
            for seat in SEATS:
                if seat in met.states and other(seat) in met.states:
                    own, seen = met.states[seat].own.active, met.states[other(seat)].foe.active
                    if own is not None and seen is not None:
                        yield met, own, seen


def disguised(own: PokemonState, seen: PokemonState) -> bool:
    return own.ability == "illusion" and own.species != seen.species


def bare(name: str) -> str:
    # One's own Hidden Power and Return are listed with what the log leaves out: their type or power.
    return "Hidden Power" if name.startswith("Hidden Power") else name.rstrip("0123456789 ")


def test_nothing_passes_as_an_action_that_asks_for_none(played: list[Played]) -> None:
    for told in all_told(played, "v2"):
        assert Pass() not in told.legal or told.legal == (Pass(),)
