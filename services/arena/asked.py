"""Whether what was asked for can be played at all, as far as names tell: no simulator is needed to say."""

from collections.abc import Callable

from shared.errors import UsageError
from shared.policies import PolicySpec, check_format, parse_policy, person_behind
from shared.records import MatchupRequest


def check_request(
    request: MatchupRequest,
    *,
    person_may_play: bool = False,
    also: Callable[[PolicySpec], object] = lambda policy: None,
) -> None:
    """Raises UsageError, with the field, when the request contradicts itself or names what does not exist.

    A person may play as p2, on a server, where the caller can tell them where to go. `also` checks each policy further,
    by raising UsageError.
    """
    format = check_format(request.format)
    person = person_may_play and person_behind(request.p2)
    if person and request.battlefield != "server":
        raise UsageError("a person can play only on the Showdown server", field="battlefield")
    for field, name in (("p1", request.p1), ("p2", request.p2)):
        try:
            if not (person and field == "p2"):
                also(parse_policy(name))
        except UsageError as error:
            raise type(error)(error.message, field=field) from error
    if request.battlefield == "server" and request.pairs:
        raise UsageError("the Showdown server takes no seeds, so battles there cannot be pairs", field="pairs")
    for field, team in (("team1", request.team1), ("team2", request.team2)):
        if team is not None and not format.needs_team:
            raise UsageError(f"{format.id} draws its own teams", field=field)
        if team is not None and not team.strip():
            raise UsageError("this team is empty; leave it out to play one of ours", field=field)
