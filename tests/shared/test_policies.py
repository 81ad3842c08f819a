"""Policy names and formats."""

import pytest

from shared.battle.contract import CONTRACTS
from shared.errors import UnknownFormat, UnknownPolicy
from shared.policies import (
    CONTRACT_VERSIONS,
    FORMATS,
    KINDS,
    Format,
    ModelOptions,
    asks_a_model,
    check_format,
    check_over_api,
    parse_policy,
)


@pytest.mark.parametrize("name", ["random", "max-damage", "heuristic"])
def test_baselines_are_written_by_their_kind_alone(name: str) -> None:
    assert parse_policy(name).kind == name


@pytest.mark.parametrize(
    "name", ["", "rand", "Random", "random ", "heuristic:", "random:x", "random?", "random?a=1", "x" * 300]
)
def test_a_name_that_is_no_policy_is_refused_with_the_list_or_the_reason(name: str) -> None:
    with pytest.raises(UnknownPolicy) as refused:
        parse_policy(name)

    assert any(kind in refused.value.message for kind in KINDS)


@pytest.mark.parametrize(
    ("name", "model", "url"),
    [
        ("mistral:ministral-3b-latest", "ministral-3b-latest", None),
        ("mistral:ft:open-mistral-7b:abc", "ft:open-mistral-7b:abc", None),
        ("hf:Qwen/Qwen3-8B:together", "Qwen/Qwen3-8B:together", None),
        ("tgi:http://127.0.0.1:8080", None, "http://127.0.0.1:8080"),
        ("tgi:small@http://127.0.0.1:8080", "small", "http://127.0.0.1:8080"),
        ("tgi:small", "small", None),
        ("tgi:small@3", "small@3", None),
        ("openai:qwen3:8b@http://h:11434/v1", "qwen3:8b", "http://h:11434/v1"),
        ("openai:org/m@v2@https://h/v1", "org/m@v2", "https://h/v1"),
        ("openai:qwen3@ollama", "qwen3", "ollama"),
        ("openai:gpt-5-mini", "gpt-5-mini", None),
        ("local:models/mine", "models/mine", None),
        ("local:mine@3", "mine@3", None),
    ],
)
def test_the_kind_ends_at_the_first_colon_and_the_address_starts_at_the_last_at(
    name: str, model: str | None, url: str | None
) -> None:
    spec = parse_policy(name + "?contract=v1")

    assert (spec.kind, spec.model, spec.url) == (name.split(":")[0], model, url)
    assert spec.options.contract == "v1"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mistral", "written like"),
        ("mistral:", "written like"),
        ("mistral:m@http://h", "takes no address"),
        ("openai:", "written like"),
        ("openai:m@", "written like"),
        ("openai:@http://h", "written like"),
        ("openai:m@ftp://h", "is no address"),
        ("openai:m@http://", "is no address"),
        ("openai:m@http://h:99999", "is no address"),
        ("openai:m@http://h/#top", "takes nothing behind"),
        ("tgi:", "written like"),
        ("tgi:a\nb", "will not do"),
        ("mistral:" + "m" * 201, "will not do"),
    ],
)
def test_what_stands_behind_a_kind_is_checked(name: str, reason: str) -> None:
    with pytest.raises(UnknownPolicy, match=reason):
        parse_policy(name)


@pytest.mark.parametrize(
    "name",
    [
        "openai:m@http://me:s3cret@h/v1",
        "tgi:http://me:s3cret@h",
        "openai:m@http://h/v1?key=s3cret",
        "opanai:m@http://me:s3cret@h",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(UnknownPolicy) as refused:
        parse_policy(name)

    assert "s3cret" not in refused.value.message


def test_every_option_is_read_as_what_it_is() -> None:
    written = (
        "contract=v1&temperature=0.7&seed=5&history=1&reasoning=yes&instructions=no&constrain=no&max-tokens=9&asks=3"
        "&substitute=forfeit&timeout=2.5"
    )

    assert parse_policy(f"mistral:m?{written}").options == ModelOptions(
        contract="v1",
        temperature=0.7,
        seed=5,
        history=1,
        reasoning=True,
        instructions=False,
        constrain=False,
        max_tokens=9,
        asks=3,
        substitute="forfeit",
        timeout_seconds=2.5,
    )
    assert parse_policy("mistral:m").options == ModelOptions()


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "no option=value"),
        ("contract", "one of v1, v2"),
        ("contract=v9", "one of v1, v2, v3"),
        ("temperature=2.1", "a number from 0 to 2"),
        ("temperature=nan", "a number from 0 to 2"),
        ("temperature=1e0", "a number from 0 to 2"),
        ("seed=-1", "a whole number from 0"),
        ("seed=1_000", "a whole number from 0"),
        ("history=21", "a whole number from 0 to 20"),
        ("reasoning=true", "yes or no"),
        ("asks=0", "a whole number from 1 to 5"),
        ("substitute=heuristic", "one of random, max-damage, forfeit"),
        ("timeout=0", "a number from 0.1 to 600"),
        ("asks=1&asks=2", "given twice"),
        ("contrakt=v1", "did you mean 'contract'"),
        ("temp=0.5", "did you mean 'temperature'"),
    ],
)
def test_an_option_that_will_not_do_is_refused_with_what_would(written: str, reason: str) -> None:
    with pytest.raises(UnknownPolicy, match=reason):
        parse_policy(f"mistral:m?{written}")


def test_nobody_can_ask_for_streams_any_more_but_a_recorded_name_that_does_is_read() -> None:
    with pytest.raises(UnknownPolicy, match="answers are not streamed any more: leave the option 'stream' out"):
        parse_policy("mistral:m?asks=3&stream=yes")
    with pytest.raises(UnknownPolicy, match="has no option 'stream'"):
        parse_policy("random?stream=yes", recorded=True)

    assert parse_policy("mistral:m?asks=3&stream=yes", recorded=True).options == ModelOptions(asks=3)
    assert asks_a_model("mistral:m?asks=3&stream=yes") and not asks_a_model("random") and not asks_a_model("human:Ann")


@pytest.mark.parametrize("name", ["openai:m@http://h/v1", "tgi:http://h", "local:models/mine", "local:name"])
def test_addresses_and_paths_are_for_the_command_line(name: str) -> None:
    with pytest.raises(UnknownPolicy, match="for the command line"):
        check_over_api(parse_policy(name))


@pytest.mark.parametrize("name", ["random", "mistral:m", "hf:a/b", "tgi:small@3", "openai:m@ollama"])
def test_what_the_operator_named_may_be_asked_for_over_the_api(name: str) -> None:
    spec = parse_policy(name)

    assert check_over_api(spec) is spec


def test_the_contracts_that_a_policy_may_name_are_those_there_are() -> None:
    assert tuple(CONTRACTS) == CONTRACT_VERSIONS


def test_a_near_miss_is_told_what_was_probably_meant() -> None:
    with pytest.raises(UnknownPolicy, match="did you mean 'heuristic'"):
        parse_policy("heuristics")
    with pytest.raises(UnknownFormat, match="did you mean 'gen9randombattle'"):
        check_format("gen9randombatle")


@pytest.mark.parametrize("name", ["gen9ubers", "gen9monotype", "gen9nationaldex", "gen1ou", "gen4uu"])
def test_the_simulators_singles_formats_are_played_with_teams_of_ones_own(name: str) -> None:
    assert check_format(name) == Format(name, int(name[3]), needs_team=True, has_teams=False)


@pytest.mark.parametrize("name", ["gen9doublesou", "gen9randomdoublesbattle", "gen6doublesou"])
def test_what_is_no_singles_format_is_refused_as_that(name: str) -> None:
    with pytest.raises(UnknownFormat, match=f"{name} is no singles format"):
        check_format(name)


def test_every_format_names_its_generation() -> None:
    assert all(name.startswith(f"gen{format.generation}") for name, format in FORMATS.items())
