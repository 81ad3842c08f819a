"""Every setting that comes from the environment, and the only place that reads it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.document import read_toml
from shared.errors import UsageError, first_fault
from shared.served import servers

# Before torch is imported anywhere: its threads wait for each other, and are to spin for a tenth of a millisecond
# before they sleep. By default they spin for milliseconds, and keep the processors from the very threads they wait for
# as soon as anything else runs beside them: the simulator, another worker, a second model. A decision then takes up to
# twenty times as long; docs/training-log.md has the figures. GNU's OpenMP alone knows the variable.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
EngineName = Literal["auto", "tgi", "vllm", "builtin"]
# A variable that is set to nothing is no key.
Key = Annotated[SecretStr | None, BeforeValidator(lambda given: given or None)]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that answers for models: where it is, its key, and how much it takes at once."""

    url: str
    """Without a slash at the end."""
    key: SecretStr | None = None
    """Belongs to this scheme, host and port, and is sent nowhere else."""
    max_in_flight: int = 32
    """Requests at once, over all workers."""

    @property
    def name(self) -> str:
        """Host and port: what logs and limits go by."""
        scheme, host, port = _origin(self.url)
        return host if port == _PORTS.get(scheme) else f"{host}:{port}"


class NamedEndpoint(BaseModel):
    """An entry of the endpoints file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    key: Key = None
    key_file: Path | None = None
    """A file with the key, so that this one holds no secret."""
    max_in_flight: int | None = Field(default=None, ge=1)


SECRETS = tuple(folder for folder in ("/run/secrets", "/run/alphastral/secrets") if Path(folder).is_dir())
"""Where containers find what nobody else may read: a file for each setting, like `mistral_api_key`."""
REGISTRY = "registry"
"""What the endpoints file calls the server of the registry's models that have none of their own."""
_PORTS = {"http": 80, "https": 443}
_NAMED = TypeAdapter(dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.@/-]{0,199}$")], NamedEndpoint])


def _either(ours: str, known: str | None = None) -> AliasChoices:
    """The variables that stand for a setting: ours, then the one that everybody knows."""
    return AliasChoices(f"ALPHASTRAL_{ours}", known or ours)


class Settings(BaseSettings):
    """Read from variables named `ALPHASTRAL_…`; some also go by names that everybody knows: REDIS_URL, HF_TOKEN, …

    What no variable says is looked for in the files of SECRETS. What is empty counts as not given. Raises UsageError,
    naming the variable, for a value that cannot be.
    """

    model_config = SettingsConfigDict(
        env_prefix="ALPHASTRAL_",
        env_file=".env",
        env_ignore_empty=True,
        secrets_dir=SECRETS,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    redis_url: str | None = Field(default=None, validation_alias=_either("REDIS_URL"))
    redis_password_file: Path | None = None
    """A file with Redis's password, so that no command line and no variable holds it."""
    store: str = "var/store"
    """A folder, or a bucket: s3://, gs://, az://."""
    api_host: str = "127.0.0.1"
    api_port: int | None = Field(default=None, ge=0, le=65535)
    """A free port when not given."""
    api_published_at: str | None = None
    """Where others reach the API, if not at `api_host`: in a container it listens everywhere, and its port is published
    on one address of the machine."""
    api_token: Key = None
    api_url: str | None = None
    """Where the command line finds the API; the local stack writes its own address to `var/api.json`."""
    showdown_url: str | None = None
    """The official Showdown server that `battlefield: server` plays on, as ws://HOST:PORT."""
    node: Path | None = None
    """The Node.js to run; found on PATH or in the nodejs wheel when not given."""
    luck: bool = True
    """Whether battles are reviewed and the luck is taken out, where who asks for a matchup leaves it open."""
    worker_grace_seconds: float = Field(default=8.0, ge=0, allow_inf_nan=False)
    """How long a worker that is told to stop lets its running battles go on."""
    mistral_api_key: Key = Field(default=None, validation_alias=_either("MISTRAL_API_KEY"))
    mistral_url: str = "https://api.mistral.ai"
    """The only host that the key for Mistral is sent to; likewise below."""
    hf_token: Key = Field(default=None, validation_alias=_either("HF_TOKEN"))
    hf_url: str = "https://router.huggingface.co"
    hub_url: str = Field(default="https://huggingface.co", validation_alias=_either("HUB_URL", "HF_ENDPOINT"))
    """The Hub, where models and datasets are pushed to and pulled from: it gets the key of Hugging Face, too."""
    replay_site_url: str = "https://replay.pokemonshowdown.com"
    replay_site_connections: int = Field(default=4, ge=1, le=32)
    """At once, over all scraper workers."""
    replay_site_requests_per_second: float = Field(default=4.0, gt=0, le=100)
    """The same."""
    scraper_workers: int = Field(default=1, ge=0, le=64)
    """How many the local stack runs."""
    openai_api_key: Key = Field(default=None, validation_alias=_either("OPENAI_API_KEY"))
    openai_url: str = Field(
        default="https://api.openai.com/v1", validation_alias=_either("OPENAI_URL", "OPENAI_BASE_URL")
    )
    endpoints_file: Path | None = None
    """Names the servers that may be asked over the API, with their keys and limits: see `endpoint`."""
    max_in_flight: int = Field(default=32, ge=1)
    """Requests at once to one endpoint, over all workers, where the endpoints file says nothing else."""
    server_patience_seconds: float = Field(default=300.0, ge=0)
    """How long a model's server may be away, or fail everybody, before battles break for it."""
    version_patience_seconds: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    """How long a model's server may serve another version than the one asked for before a matchup fails for it."""
    prices_file: Path | None = None
    """Prices of models that replace or join those of services/arena/prices.toml."""
    engine: EngineName = "auto"
    """What the supervisor starts; `auto` goes by the model's architecture."""
    engine_arguments: str = ""
    """More arguments for it, as in a shell."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """What models of this machine are trained and served in where nothing else is said; `auto` measures."""
    recipes: Path | None = None
    """A folder with training recipes of one's own, which may be asked for over the API, too."""
    log_level: LogLevel = Field(default="INFO", validation_alias=_either("LOG_LEVEL"))

    def endpoint(self, address: str) -> Endpoint:
        """The endpoint at a URL, or the one that the endpoints file names so (`NAME` answers for `NAME@VERSION` too),
        or else a server on this machine that serves just this model.

        A URL gets the key and the limit that the settings know for its scheme, host and port, and no others.
        Raises UsageError for a name that nobody gave, and for a file that is none.
        """
        named = self._named_endpoints()
        if "://" not in address:
            # A server on this machine answers for what it serves and for no other version of it.
            entry = named.get(address) or self._in_the_file().get(address.rpartition("@")[0])
            if entry is None:
                others = [name for name in named if name.partition("@")[0] == address.partition("@")[0]]
                instead = f"; {', '.join(others)} may be meant, or serve it anew" if others else ""
                raise UsageError(
                    f"no endpoint is called {address!r}; the endpoints are: {', '.join(named) or 'none'}{instead}. One "
                    "is made by `alphastral serve MODEL` while that runs, and by the file ALPHASTRAL_ENDPOINTS_FILE"
                )
            return entry
        url = address.rstrip("/")
        keys = {
            _origin(own): key
            for own, key in (
                (self.mistral_url, self.mistral_api_key),
                (self.hf_url, self.hf_token),
                (self.openai_url, self.openai_api_key),
            )
        }
        entry = next((entry for entry in named.values() if _origin(entry.url) == _origin(url)), None)
        if entry is not None:
            return Endpoint(url, entry.key or keys.get(_origin(url)), entry.max_in_flight)
        return Endpoint(url, keys.get(_origin(url)), self.max_in_flight)

    def serving(self, model: str) -> Endpoint:
        """The endpoint of NAME@VERSION: one that is called like it, or serves it here, or else `registry`.

        Raises UsageError where there is neither.
        """
        named = self._named_endpoints()
        own = model in named or model.rpartition("@")[0] in self._in_the_file()
        return self.endpoint(REGISTRY if REGISTRY in named and not own else model)

    @property
    def served_folder(self) -> Path:
        """Where the servers of models on this machine are told: beside what the store has, where that is a folder."""
        scheme, _, path = self.store.rpartition("://")
        return Path(path if scheme in ("", "file", "local") else "var", "serving")

    def _named_endpoints(self) -> Mapping[str, Endpoint]:
        here = servers(self.served_folder)
        served = {name: Endpoint(each.url, None, self.max_in_flight) for each in here for name in each.models}
        return served | self._in_the_file()

    def _in_the_file(self) -> dict[str, Endpoint]:
        if self.endpoints_file is None:
            return {}
        try:
            entries = _NAMED.validate_python(read_toml(self.endpoints_file))
            return {name: self._endpoint(entry) for name, entry in entries.items()}
        except ValidationError as error:
            where, why = first_fault(error)
            raise UsageError(f"the endpoints file {self.endpoints_file}: {where}: {why}") from None
        except (OSError, ValueError) as error:
            raise UsageError(f"the endpoints file {self.endpoints_file} cannot be read: {error}") from None

    def _endpoint(self, entry: NamedEndpoint) -> Endpoint:
        key = SecretStr(entry.key_file.read_text(encoding="utf-8").strip()) if entry.key_file else entry.key
        return Endpoint(entry.url.rstrip("/"), key, entry.max_in_flight or self.max_in_flight)

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


def is_first_process() -> bool:
    """Whether this process writes, speaks and publishes: `torchrun` or `accelerate launch` may have started several."""
    return os.environ.get("RANK", "0") == "0"


def child_environment(**changes: str) -> dict[str, str]:
    """The environment of a process that this one starts: this one's own, with `changes`."""
    return {**os.environ, **changes}


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what a key is bound to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def complete_environment(prefix: str) -> None:
    """For a library that looks there: take in what lies in files of SECRETS, and take out what is set to nothing, which
    it would take for a value.
    """
    for name in [name for name, value in os.environ.items() if name.startswith(prefix) and not value]:
        del os.environ[name]
    for path in (path for folder in SECRETS for path in Path(folder).glob(f"{prefix.lower()}*")):
        if secret := path.read_text(encoding="utf-8").strip():
            os.environ.setdefault(path.name.upper(), secret)
