"""Whether what was asked for can be played at all, as far as names tell, which version a name stands for, and by what
the luck is told.

A name in the registry becomes NAME@VERSION when a matchup is asked for, and no promotion changes that.
"""

from collections.abc import Callable, Iterable

from shared.errors import NotFound, UnknownPolicy, UsageError, at_field
from shared.policies import KINDS, PolicySpec, check_format, check_over_api, parse_policy, parse_teacher, person_behind
from shared.records import MAX_POLICY_CHARACTERS, LuckAsked, MatchupRequest, NewMatchup
from shared.registry import Registry
from shared.settings import Settings
from shared.value import shipped_value
from shared.verdicts.intervals import share_taken

COPIES = 6
"""Of each position, with other dice, to tell the luck of a battle by."""


def check_matchup(
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
    for field, name in (("p1", request.p1), ("p2", request.p2), ("teacher", request.teacher)):
        with at_field(field):
            if name is not None and not (person and field == "p2"):
                spec = parse_teacher(name) if field == "teacher" else parse_policy(name)
                also(_plays(spec, format.id))
    if request.battlefield == "server" and request.pairs:
        raise UsageError("the Showdown server takes no seeds, so battles there cannot be pairs", field="pairs")
    for field, team in (("team1", request.team1), ("team2", request.team2)):
        if team is not None and not format.needs_team:
            raise UsageError(f"{format.id} draws its own teams", field=field)
        if team is None and format.needs_team and not format.has_teams:
            missing = field if request.team1 or request.team2 else "format"
            raise UsageError(f"{format.id} is played with teams of your own: give team1 and team2", field=missing)
        if team is not None and not team.strip():
            raise UsageError("this team is empty; leave it out to play one of ours", field=field)


def _plays(policy: PolicySpec, format: str) -> PolicySpec:
    """The policy itself. Raises UsageError where it does not play that format."""
    if KINDS[policy.kind].needs_value and shipped_value(format) is None:
        raise UsageError(f"{policy.kind!r} plays only formats that a value model comes with, and {format} has none")
    return policy


def named_by_the_operator(settings: Settings) -> Callable[[PolicySpec], None]:
    """A check for `also`: UsageError for a policy that the API does not take, or whose endpoint nobody named."""

    def check(policy: PolicySpec) -> None:
        check_over_api(policy)
        if policy.url is not None:
            settings.endpoint(policy.url)

    return check


def pinned(
    request: MatchupRequest, registry: Registry, settings: Settings, *, before: MatchupRequest | None = None
) -> MatchupRequest:
    """The request with every name of the registry's at the version that it stands for now.

    Where the same was asked `before`, at the version that it stood for then. Raises UnknownPolicy, with the field, for
    a name that is neither the registry's nor an endpoint's, and UsageError where nobody named a server for it.
    """
    changes = {}
    for field, text in (("p1", request.p1), ("p2", request.p2)):
        if not person_behind(text):
            with at_field(field):
                earlier = [getattr(before, field)] if before else []
                changes[field] = pin(text, registry, settings, before=earlier)
    return request.model_copy(update=changes)


def pin(text: str, registry: Registry, settings: Settings, *, before: Iterable[str] = ()) -> str:
    """The policy with its version where it names a model of the registry, else as written. Raises UsageError.

    Where it is among those pinned `before`, as it was then.
    """
    spec = parse_policy(text)
    if earlier := next((each for each in before if _is_version_of(each, text)), None):
        return earlier
    if spec.kind != "tgi" or spec.model is None or spec.url is not None:
        return text
    name, version = spec.pinned or (spec.model, None)
    try:
        versions = registry.versions(name)
    except NotFound:
        _check_endpoint(spec.model, registry, settings)
        return text
    if version is None:
        try:
            version = registry.current(name)
        except NotFound as error:
            raise UnknownPolicy(f"{error.message}; its versions are: {', '.join(versions)}") from error
    elif version not in versions:
        raise UnknownPolicy(f"the model {name!r} has no version {version!r}; its versions are: {', '.join(versions)}")
    settings.serving(f"{name}@{version}")
    written = _at(spec, version)
    if len(written) > MAX_POLICY_CHARACTERS:
        raise UnknownPolicy(f"with its version, the policy is longer than {MAX_POLICY_CHARACTERS} characters")
    return written


def _check_endpoint(model: str, registry: Registry, settings: Settings) -> None:
    try:
        settings.endpoint(model)
    except UsageError as error:
        known = ", ".join(registry.names()) or "none"
        raise UnknownPolicy(f"{error.message}; the registry's models are: {known}") from error


def _at(spec: PolicySpec, version: str) -> str:
    """The policy as it is written with this version."""
    name = spec.pinned[0] if spec.pinned else spec.model
    return f"tgi:{name}@{version}{spec.text.removeprefix(f'tgi:{spec.model}')}"


def _is_version_of(earlier: str, text: str) -> bool:
    """Whether `earlier` is what `text`, which names no version, was pinned to."""
    spec, then = parse_policy(text), parse_policy(earlier).pinned
    return (
        spec.kind == "tgi" and not spec.url and not spec.pinned and then is not None and earlier == _at(spec, then[1])
    )


def luck_asked(body: NewMatchup, request: MatchupRequest, *, by_default: bool) -> LuckAsked | None:
    """By what the luck is told, if at all. Raises UsageError where that is asked for and cannot be done."""
    value = shipped_value(request.format)
    if value is not None and request.battlefield == "simulator":
        is_wanted = by_default if body.luck is None else body.luck == "on"
        return LuckAsked(value=value.hash, copies=COPIES, share=share_taken(COPIES)) if is_wanted else None
    if body.luck == "on":
        why = "a server takes no seeds" if value else f"no value model of {request.format} comes with this version"
        raise UsageError(f"the luck cannot be taken out: {why}", field="luck")
    return None
