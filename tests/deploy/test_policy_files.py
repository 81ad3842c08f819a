"""Policy files: names for policies with their options."""

from pathlib import Path

import pytest

from deploy.cli.options import read_policies
from shared.errors import UsageError


def written(folder: Path, text: str) -> Path:
    path = folder / "policies.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_name_stands_for_the_whole_policy(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [large]
        policy = "mistral:mistral-large-latest"
        reasoning = true
        history = 1
        temperature = 0.5

        [more]
        policy = "openai:qwen3@http://127.0.0.1:11434/v1?asks=3"
        contract = "v1"
        """,
    )

    assert read_policies(path) == {
        "large": "mistral:mistral-large-latest?reasoning=yes&history=1&temperature=0.5",
        "more": "openai:qwen3@http://127.0.0.1:11434/v1?asks=3&contract=v1",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[random]\npolicy = 'mistral:m'", "'random' is or looks like a policy of its own"),
        ("['a:b']\npolicy = 'mistral:m'", "looks like a policy"),
        ("[large]\nmodel = 'm'", "needs a line `policy"),
        ("large = 'mistral:m'", "needs a line `policy"),
        ("[large]\npolicy = 'mistral:m'\nasks = 9", "'large': the option 'asks' takes a whole number from 1 to 5"),
        ("[large]\npolicy = 'mistral:m'\nseed = 'a&asks=1'", "'seed' takes a whole number"),
        ("[large", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name_and_the_entrys(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as refused:
        read_policies(written(tmp_path, text))

    assert "policies.toml" in refused.value.message


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_policies(tmp_path / "none.toml")
