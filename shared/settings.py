"""Every setting that comes from the environment, and the only place that reads it."""

import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Settings(BaseSettings):
    """Read from variables named `ALPHASTRAL_…` (REDIS_URL and LOG_LEVEL also go by their bare names)."""

    model_config = SettingsConfigDict(env_prefix="ALPHASTRAL_", env_file=".env", extra="ignore", frozen=True)

    redis_url: str | None = Field(default=None, validation_alias=AliasChoices("ALPHASTRAL_REDIS_URL", "REDIS_URL"))
    redis_password_file: Path | None = None
    """A file with Redis's password, so that no command line and no variable holds it."""
    store: str = "var/store"
    """A folder, or any URL that fsspec opens."""
    api_host: str = "127.0.0.1"
    api_port: int | None = None
    """A free port when not given."""
    api_token: SecretStr | None = None
    api_url: str | None = None
    """Where the command line finds the API; the local stack writes its own address to `var/api.json`."""
    showdown_url: str | None = None
    """The official Showdown server that `battlefield: server` plays on, as ws://HOST:PORT."""
    node: Path | None = None
    """The Node.js to run; found on PATH or in the nodejs wheel when not given."""
    worker_grace_seconds: float = 8.0
    """How long a worker that is told to stop lets its running battles go on."""
    log_level: LogLevel = Field(default="INFO", validation_alias=AliasChoices("ALPHASTRAL_LOG_LEVEL", "LOG_LEVEL"))


def child_environment(**changes: str) -> dict[str, str]:
    """The environment of a process that this one starts: this one's own, with `changes`."""
    return {**os.environ, **changes}
