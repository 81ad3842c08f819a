"""What a question says beyond the contract's prompt: what the game is and how to answer.

A model that was trained on a contract needs none of it, and is asked for what it was trained on, to the letter.
"""

from services.arena.backends import Form
from shared.battle.decision import Ask

TASK = "You are playing a Pokémon battle on Showdown. Choose the action that is most likely to win it."


def worded(ask: Ask, form: Form, *, first: bool, instructions: bool, reasoning: bool) -> str:
    """The user message. `first` tells the first ask from the later ones, whose prompt lists the answers itself."""
    parts = [ask.prompt]
    if instructions:
        parts.insert(0, TASK)
        if first:
            parts.append("The legal actions:\n" + "\n".join(ask.completions))
    if reasoning:
        parts.append(_how_to_reason(form))
    elif instructions and first:
        parts.append("Answer with exactly one of them, as it is written, and nothing else.")
    return "\n\n".join(parts)


def _how_to_reason(form: Form) -> str:
    if form is Form.JSON_SCHEMA:
        return "Give the reason for your choice in one or two sentences, then the action as it is written."
    return (
        "Answer in two lines. The first begins with REASON: and gives the reason for your choice in one or two "
        "sentences. The second begins with ACTION: and gives the action as it is written, and nothing else."
    )
