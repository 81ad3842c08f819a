"""Every setting that comes from the environment, and the only place that reads it."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import UsageError

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Settings(BaseSettings):
    """Read from variables named `ALPHASTRAL_…` (REDIS_URL and LOG_LEVEL also go by their bare names).

    An empty variable counts as not given. Raises UsageError, naming the variable, for a value that cannot be.
    """

    model_config = SettingsConfigDict(
        env_prefix="ALPHASTRAL_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    redis_url: str | None = Field(default=None, validation_alias=AliasChoices("ALPHASTRAL_REDIS_URL", "REDIS_URL"))
    redis_password_file: Path | None = None
    """A file with Redis's password, so that no command line and no variable holds it."""
    store: str = "var/store"
    """A folder, or any URL that fsspec opens."""
    api_host: str = "127.0.0.1"
    api_port: int | None = Field(default=None, ge=0, le=65535)
    """A free port when not given."""
    api_token: SecretStr | None = None
    api_url: str | None = None
    """Where the command line finds the API; the local stack writes its own address to `var/api.json`."""
    showdown_url: str | None = None
    """The official Showdown server that `battlefield: server` plays on, as ws://HOST:PORT."""
    node: Path | None = None
    """The Node.js to run; found on PATH or in the nodejs wheel when not given."""
    worker_grace_seconds: float = Field(default=8.0, ge=0, allow_inf_nan=False)
    """How long a worker that is told to stop lets its running battles go on."""
    log_level: LogLevel = Field(default="INFO", validation_alias=AliasChoices("ALPHASTRAL_LOG_LEVEL", "LOG_LEVEL"))

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, values: Any, validated: ModelWrapValidatorHandler["Settings"]) -> "Settings":
        try:
            return validated(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]).upper()
            variable = name if name.startswith("ALPHASTRAL_") else f"ALPHASTRAL_{name}"
            raise UsageError(f"the setting {variable} cannot be {first['input']!r}: {first['msg']}") from error


def child_environment(**changes: str) -> dict[str, str]:
    """The environment of a process that this one starts: this one's own, with `changes`."""
    return {**os.environ, **changes}
