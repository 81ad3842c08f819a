"""What a line of the log names as its cause: the move that called another, the item or ability at work, and whose."""

from collections.abc import Iterator

from shared.battle.protocol import Line, seat_of

# After these, `[of]` names whose item or ability it was; in other lines it is the first Pokémon's.
_HURTS_ANOTHER = frozenset({"-damage", "-status", "-weather", "-fieldstart", "-unboost", "-start", "-fail", "-block"})
_NAMES_PLAINLY = ("-activate", "-block", "cant")


def called_by(line: Line) -> str | None:
    """What made a `|move|` happen other than its user's choice: `move: Sleep Talk`, `lockedmove`; None for a choice."""
    source = cause_of(line)
    # No item calls a move: in generation 4, those that Quick Claw brings forward name it.
    return None if source.startswith("item: ") else source or None


def cause_of(line: Line) -> str:
    """What a line about a Pokémon names as its cause: `item: Leftovers`, `move: Trick`. Empty where it names none."""
    return next((part[6:].strip() for part in line[4:] if part.startswith("[from]")), "")


def of_whom(line: Line) -> str:
    """The other Pokémon that a line names. Empty where it names none."""
    return next((part[4:].strip() for part in line[3:] if part.startswith("[of]")), "")


def named_sources(line: Line) -> Iterator[tuple[str, str, str]]:
    """Of each cause that a line names (`[from] item: Leftovers`): `item` or `ability`, its name, and whose it is."""
    of = of_whom(line)
    for part in line[3:]:
        text = part[6:].strip() if part.startswith("[from]") else part if line[1] in _NAMES_PLAINLY else ""
        what, colon, name = text.partition(": ")
        # Of the line that takes an item away, Pickpocket is the taker's, who is named in the next line.
        if colon and what in ("item", "ability") and not (line[1] == "-enditem" and what == "ability"):
            anothers = line[1] in _HURTS_ANOTHER or name == "Frisk" or seat_of(line[2]) is None
            yield what, name, of if of and anothers else line[2]
