"""The answer out of a finite set whose members have been scored, told as if it had been generated.

The most probable member is taken; where a request samples, one is drawn. The members' log-probabilities stand for the
logits then, so that temperature, top_k and the rest mean what they mean for tokens.
"""

from collections.abc import Sequence

import torch
from tokenizers.decoders import DecodeStream

from services.inference.decoding import Token, finite
from services.inference.sampling import Chooser
from services.inference.work import Candidate, Member, Ticket
from shared.language.load import Loaded


def choose(ticket: Ticket, scores: Sequence[Sequence[float]], loaded: Loaded) -> None:
    """Choose a member by the scores of all, and tell it as if it had been generated.

    Raises FloatingPointError where a score is no finite number: it would pass for certainty.
    """
    work = ticket.work
    candidates = [
        Candidate(member.text, min(0.0, finite(sum(tokens))), len(member.ids))
        for member, tokens in zip(work.members, scores, strict=True)
    ]
    chosen = Chooser(work.sampling).choose(torch.tensor([each.logprob for each in candidates], dtype=torch.float64))
    ids = work.members[chosen].ids[: work.max_new_tokens]
    cut = len(ids) < len(work.members[chosen].ids)
    said = _told(work.members[chosen], ids, scores[chosen], loaded)
    for token in said:
        ticket.tell(token)
    text = "".join(token.text for token in said) if cut else work.members[chosen].text
    ticket.end(text, "length" if cut else "eos_token", len(ids), candidates)


def _told(member: Member, ids: Sequence[int], logprobs: Sequence[float], loaded: Loaded) -> list[Token]:
    stream = DecodeStream(skip_special_tokens=True)
    whole = len(ids) == len(member.ids)
    # What the template puts before every answer is no part of it.
    lead = member.lead
    said = []
    for place, (token, logprob) in enumerate(zip(ids, logprobs, strict=False)):
        is_end = whole and place == len(ids) - 1
        text = "" if is_end else stream.step(loaded.tokenizer.backend_tokenizer, token) or ""
        while lead and text.startswith(lead[0]):
            lead, text = lead[1:], text[1:]
        said.append(Token(token, text, logprob, is_end))
    return said
