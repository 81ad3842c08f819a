"""Settings come from variables, and a bad one is told by its name."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import UsageError
from shared.settings import Settings, child_environment

ROOT = Path(__file__).parents[2]


def settings(folder: Path, *variables: str) -> Settings:
    (folder / ".env").write_text("\n".join(variables))
    return Settings(_env_file=folder / ".env")


def test_a_variable_that_is_set_to_nothing_counts_as_not_given(tmp_path: Path) -> None:
    read = settings(tmp_path, "REDIS_URL=", "LOG_LEVEL=", "ALPHASTRAL_API_PORT=", "ALPHASTRAL_NODE=")

    assert (read.redis_url, read.log_level, read.api_port, read.node) == (None, "INFO", None, None)


def test_a_log_level_may_be_written_small(tmp_path: Path) -> None:
    assert settings(tmp_path, "LOG_LEVEL=debug").log_level == "DEBUG"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALPHASTRAL_LOG_LEVEL", "loud"),
        ("ALPHASTRAL_API_PORT", "http"),
        ("ALPHASTRAL_API_PORT", "70000"),
        ("ALPHASTRAL_WORKER_GRACE_SECONDS", "nan"),
    ],
)
def test_a_setting_that_cannot_be_is_told_by_its_variable(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"the setting {variable} cannot be"):
        settings(tmp_path, f"{variable}={value}")


@pytest.mark.parametrize(
    "entry", ["deploy.worker", "deploy.serving", "deploy.cli.models", "services.inference.supervisor"]
)
def test_torch_is_told_how_long_its_threads_spin_before_anything_loads_it(entry: str) -> None:
    code = f"import os, sys, {entry}; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    environment = {name: value for name, value in child_environment().items() if name != "GOMP_SPINCOUNT"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)

    assert told.stdout == "False 3000\n"


def test_keys_are_found_in_files_and_an_empty_one_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "mistral_api_key").write_text("from-a-file\n")
    (tmp_path / "alphastral_api_token").write_text("the-token\n")
    (tmp_path / "hf_token").write_text("")

    found = Settings(_env_file=None, _secrets_dir=tmp_path)
    assert found.mistral_api_key is not None and found.mistral_api_key.get_secret_value() == "from-a-file"
    assert found.api_token is not None and found.api_token.get_secret_value() == "the-token"
    assert found.hf_token is None
    (tmp_path / "alphastral_api_token").write_text("\n")
    assert Settings(_env_file=None, _secrets_dir=tmp_path).api_token is None
