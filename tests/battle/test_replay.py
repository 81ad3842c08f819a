"""What is rebuilt from a public log alone: labels, knowledge, and what is dropped."""

from collections.abc import Sequence

import pytest

from shared.battle.action import Move, Switch
from shared.battle.choices import Unknown
from shared.battle.public_log import Dropped, UnreadableReplay
from shared.battle.reading import Made, Reading
from shared.battle.replay import rebuild

HEAD = (
    "|gametype|singles",
    "|player|p1|Red|1",
    "|player|p2|Blue|2",
    "|teamsize|p1|2",
    "|teamsize|p2|2",
    "|gen|9",
    "|tier|[Gen 9] Random Battle",
    "|t:|1",
    "|start",
    "|switch|p1a: Snorlax|Snorlax, L80, M|400/400",
    "|switch|p2a: Gengar|Gengar, L80, M|250/250",
    "|turn|1",
)


def a_log(*turns: Sequence[str]) -> tuple[str, ...]:
    """A battle of these turns."""
    lines = list(HEAD)
    for number, turn in enumerate(turns, 2):
        lines += ["|", "|t:|2", *turn, "|upkeep", f"|turn|{number}"]
    return tuple(lines)


def read(*turns: Sequence[str]) -> Reading:
    return rebuild(a_log(*turns))


def of(reading: Reading, seat: str) -> list[Made]:
    return [made for made in reading.decisions if made.seat == seat]


def names(reading: Reading, seat: str) -> list[str]:
    return [made.action.name for made in of(reading, seat) if isinstance(made.action, Move | Switch)]


def test_a_move_is_its_users_choice() -> None:
    reading = read(["|move|p1a: Snorlax|Crunch|p2a: Gengar", "|move|p2a: Gengar|Sludge Bomb|p1a: Snorlax"])

    assert names(reading, "p1") == ["Crunch"]
    assert names(reading, "p2") == ["Sludge Bomb"]


def test_a_called_move_is_nobodys_choice() -> None:
    reading = read(
        [
            "|move|p1a: Snorlax|Sleep Talk|p1a: Snorlax",
            "|move|p1a: Snorlax|Crunch|p2a: Gengar|[from]move: Sleep Talk",
            "|cant|p2a: Gengar|flinch",
        ]
    )

    assert names(reading, "p1") == ["Sleep Talk"]
    assert reading.unknown[Unknown.LOST_TURN] == 1


def test_a_log_of_another_format_is_dropped() -> None:
    log = [line.replace("Random Battle", "NU") for line in a_log(["|move|p1a: Snorlax|Crunch|p2a: Gengar"])]

    with pytest.raises(UnreadableReplay) as dropped:
        rebuild(log)

    assert dropped.value.reason is Dropped.OTHER_FORMAT


@pytest.mark.parametrize(
    "line",
    [
        "|switch|p1a: Snorlax {n}|Snorlax, L80, M|400/400",
        "|move|p1a: Snorlax|Move {n}|p2a: Gengar",
        "|replace|p1a: Zoroark|Zoroark, L80, M",
    ],
)
def test_what_no_battle_has_makes_no_work_without_end(line: str) -> None:
    with pytest.raises(UnreadableReplay) as dropped:
        read([line.format(n=n) for n in range(1_000)])

    assert dropped.value.reason is Dropped.MALFORMED
