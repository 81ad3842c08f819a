"""Which two policies should meet next, so that the ratings of all become surer soonest.

The information that battles carry about ratings is a Laplacian matrix L: n p (1 - p) between two policies that met n
times and of which one wins with probability p. The diagonal of its pseudo-inverse L⁺ is the ratings' variances. Battles
of worth w = n p (1 - p) between i and j take w |L⁺d|² / (1 + w d'L⁺d) off their sum, where d is 1 at i and -1 at j (J.
Sherman and W. J. Morrison, Annals of Mathematical Statistics 21, 1950). Choosing the largest is sequential A-optimal
design (K. Chaloner and I. Verdinelli, Statistical Science 10, 1995).
"""

from collections.abc import Iterable, Sequence

import numpy as np

from shared.verdicts.ratings import Meeting, log_odds


def most_worth(
    candidates: Sequence[tuple[str, str]],
    meetings: Iterable[Meeting],
    *,
    battles: int,
    in_play: Sequence[tuple[str, str]] = (),
) -> tuple[str, str]:
    """The candidate whose next `battles` would make the ratings surest; the first of equals.

    Any two that may meet count as having won half a battle each, so that nobody is beyond comparison. Those `in_play`
    count as if they had played as many: what that tells about the ratings hangs little on who wins.
    """
    names = sorted({name for pairing in (*candidates, *in_play) for name in pairing})
    index = {name: place for place, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for p1, p2 in {tuple(sorted(pairing)) for pairing in (*candidates, *in_play)}:
        wins[index[p1], index[p2]] = wins[index[p2], index[p1]] = 0.5
    for meeting in meetings:
        if meeting.p1 in index and meeting.p2 in index and meeting.p1 != meeting.p2:
            wins[index[meeting.p1], index[meeting.p2]] += meeting.scores.wins
            wins[index[meeting.p2], index[meeting.p1]] += meeting.scores.battles - meeting.scores.wins
    theta = log_odds(wins)
    certain = 1 / (1 + np.exp(theta[None, :] - theta[:, None]))
    per_battle = certain * (1 - certain)
    played = wins + wins.T
    for p1, p2 in in_play:
        played[[index[p1], index[p2]], [index[p2], index[p1]]] += battles
    information = played * per_battle
    spread = np.linalg.pinv(np.diag(information.sum(1)) - information)

    def gain(pairing: tuple[str, str]) -> float:
        i, j = index[pairing[0]], index[pairing[1]]
        worth = battles * per_battle[i, j]
        along = spread[:, i] - spread[:, j]
        # Rounded, so that equals stay equal on every machine.
        return round(float(worth * (along @ along) / (1 + worth * (along[i] - along[j]))), 9)

    return max(candidates, key=gain)
