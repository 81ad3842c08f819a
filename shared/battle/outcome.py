"""How a decision came about, in words that records keep."""

from enum import StrEnum


class Outcome(StrEnum):
    """How a decision came about."""

    CHOSEN = "chosen"
    CHOSEN_AFTER_SECOND_ASK = "chosen_after_second_ask"
    ONLY_ACTION = "only_action"
    """One legal action: nobody was asked."""
    SUBSTITUTED = "substituted"
    """The policy gave no usable answer and its substitute played."""


class Reason(StrEnum):
    """Why an answer could not be used."""

    UNPARSABLE = "unparsable"
    ILLEGAL = "illegal"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"
    INEXPRESSIBLE = "inexpressible_in_contract"
    """No legal action can be written in the contract: not the policy's fault."""
