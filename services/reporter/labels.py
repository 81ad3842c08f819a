"""What policies are called in pages and sentences: short where their own names are long.

    mistral:mistral-large-latest?asks=3                        mistral-large-latest
    openai:org/qwen3@http://127.0.0.1:11434/v1                 qwen3
    tgi:mine@20261122-120000-e837aa, and another version       mine (e837aa), mine (147261)

The whole name stands once on a page, beside the label.
"""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from shared.battle.protocol import Seat
from shared.errors import UnknownPolicy
from shared.policies import KINDS, PolicySpec, parse_policy, person_behind
from shared.records import MatchupRequest
from shared.text import as_name

MAX_LABEL_CHARACTERS = 40
_LEAST_OF_A_NAME = 12


def labels(policies: Iterable[str]) -> Mapping[str, str]:
    """Policy → label, each of its own: the model's name, with what tells it apart where two have the same."""
    of_name: dict[str, list[str]] = {}
    for policy in dict.fromkeys(policies):
        of_name.setdefault(_short(policy), []).append(policy)
    found = {policy: label for name, alike in of_name.items() for policy, label in _told_apart(name, alike).items()}
    taken = list(found.values())
    return {
        policy: label if taken.count(label) == 1 else f"{as_name(label, MAX_LABEL_CHARACTERS - 6)} #{number}"
        for number, (policy, label) in enumerate(found.items(), 1)
    }


def sides(p1: str, p2: str, request: MatchupRequest | None) -> tuple[str, str]:
    """The labels of a matchup's policies: those that were asked for, or made of their names."""
    found = labels((p1, p2))
    one = (request and request.name1) or found[p1]
    two = (request and request.name2) or found[p2]
    return (f"{_fit(one)} (p1)", f"{_fit(two)} (p2)") if one == two else (_fit(one), _fit(two))


def named(request: MatchupRequest) -> dict[Seat, str]:
    """The same, by seat, before anything was played."""
    p1, p2 = sides(request.p1, request.p2, request)
    return {"p1": p1, "p2": p2}


def _fit(name: str) -> str:
    return as_name(name, MAX_LABEL_CHARACTERS)


def _short(policy: str) -> str:
    spec = _taken_apart(policy)
    if spec is None:
        return _fit(person_behind(policy) or policy)
    if spec.model:
        name = spec.model.partition("@")[0] if spec.kind in ("tgi", "local") else spec.model
        return _fit(name.rstrip("/").rpartition("/")[2] or name)
    return _fit(urlsplit(spec.url).netloc if spec.url else spec.kind)


def _told_apart(name: str, policies: Sequence[str]) -> dict[str, str]:
    """By as many features as it takes."""
    features = [_features(policy) for policy in policies]
    told: list[tuple[str, ...]] = [()] * len(policies)
    for number in range(len(features[0])):
        if len(set(told)) == len(policies):
            break
        if len({each[number] for each in features}) > 1:
            told = [(*before, each[number]) for before, each in zip(told, features, strict=True)]
    shown = [", ".join(filter(None, each)) for each in told]
    return {policy: _with(name, what) for policy, what in zip(policies, shown, strict=True)}


def _with(name: str, what: str) -> str:
    """Cut in the name first: what tells it apart stands behind it."""
    if not what:
        return _fit(name)
    what = as_name(what, MAX_LABEL_CHARACTERS - _LEAST_OF_A_NAME - 3)
    return f"{as_name(name, MAX_LABEL_CHARACTERS - len(what) - 3)} ({what})"


def _features(policy: str) -> tuple[str, str, str, str]:
    """Version, options, kind and address."""
    spec = _taken_apart(policy)
    if spec is None:
        return "", "", "", ""
    version = spec.pinned[1].rpartition("-")[2] if spec.pinned else ""
    options = policy.rpartition("?")[2].replace("&", ", ") if "?" in policy else ""
    return version, options, spec.kind, urlsplit(spec.url).netloc if spec.url else ""


def _taken_apart(policy: str) -> PolicySpec | None:
    try:
        spec = parse_policy(policy, recorded=True)
    except UnknownPolicy:
        return None
    return spec if KINDS[spec.kind].asks_a_model or spec.text == spec.kind else None
