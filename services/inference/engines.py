"""Which engine serves a model, and the command that starts it: a table, and the only place that knows their flags.

TGI 3.3.7 and vLLM have not been run by us: the flags are those of their documentation.
https://huggingface.co/docs/text-generation-inference/reference/launcher   https://docs.vllm.ai/en/latest/cli/serve
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.document import parse_json
from shared.errors import UsageError
from shared.registry import ModelCard


@dataclass(frozen=True, slots=True)
class Place:
    """Where engines listen and files go."""

    folder: Path
    """For copies of a bucket's versions, and to remember which version was healthy last."""
    host: str = "127.0.0.1"
    port: int = 8080
    device: str = "cuda"
    engine: str | None = None
    """The one to use, whatever the architecture."""
    stand_in: str | None = None
    """What is served until the name stands for a version: `smollm2`, or a model of the Hub."""
    more: Sequence[str] = ()
    """Arguments for the engine, passed on as they are."""

    def listening(self, host_option: str) -> list[str]:
        """The options of an engine that say where it listens."""
        return [host_option, self.host, "--port", str(self.port)]


@dataclass(frozen=True, slots=True)
class Published:
    """A version of the registry."""

    card: ModelCard
    folder: Path
    """Its files."""

    @property
    def is_adapter(self) -> bool:
        """Whether it needs its base beside it."""
        return self.card.kind == "adapter"


Command = Callable[[str, Published | None, Place], list[str]]
"""What the engine has to call the model (NAME@VERSION), and the model; None where the engine finds it by that name."""


def tgi(model: str, published: Published | None, place: Place) -> list[str]:
    """Text Generation Inference shows the model under the path that it was given: so that is NAME@VERSION."""
    if published and published.is_adapter:
        # Its chat route would take NAME@VERSION for an adapter's name, which TGI splits at the @.
        raise UsageError(f"TGI cannot serve the adapter {model} under its name: publish it merged, or use vLLM")
    return ["text-generation-launcher", "--model-id", model, *place.listening("--hostname"), *place.more]


def vllm(model: str, published: Published | None, place: Place) -> list[str]:
    """What vLLM calls a model is an argument of its own."""
    served, lora = [model], []
    if published and published.is_adapter:
        found = _field(published.folder / "adapter_config.json", "r")
        rank = found if isinstance(found, int) and found > 0 else 16
        served = [published.card.base]
        lora = ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", f"{model}={published.folder}"]
    elif published:
        served = [str(published.folder), "--served-model-name", model]
    return ["vllm", "serve", *served, *place.listening("--host"), *lora, *place.more]


def builtin(model: str, published: Published | None, place: Place) -> list[str]:
    """Our own server reads the registry itself. An adapter's base is served beside it: it is loaded anyway."""
    base = [published.card.base] if published and published.is_adapter else []
    where = [*place.listening("--host"), "--device", place.device]
    return [sys.executable, "-m", "deploy.serving", *base, model, *where, *place.more]


COMMANDS: Mapping[str, Command] = {"tgi": tgi, "vllm": vllm, "builtin": builtin}
IN_A_FOLDER_OF_LINKS = frozenset({"tgi"})
"""Engines that are started where the model's name is a path."""
BY_ARCHITECTURE: Mapping[str, str] = {"llama": "tgi", "mistral": "tgi", "ministral3": "vllm", "mistral3": "vllm"}
"""`model_type` of the configuration → engine; the built-in server for all others."""


def choose(published: Published | None) -> str:
    """The engine for a version: by its architecture, and for adapters one that can name them."""
    if published is None:
        return "builtin"
    architecture = published.card.architecture or _field(published.folder / "config.json", "model_type")
    engine = BY_ARCHITECTURE.get(str(architecture), "builtin")
    return "builtin" if engine == "tgi" and published.is_adapter else engine


def folder_of_links(within: Path, model: str, folder: Path) -> Path:
    """A folder in which nothing but `model` lies: a link to the published files. Raises OSError."""
    within.mkdir(parents=True, exist_ok=True)
    for link in within.iterdir():
        if link.is_symlink():
            link.unlink()
    (within / model).symlink_to(folder.resolve(), target_is_directory=True)
    return within


def _field(path: Path, name: str) -> object:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found.get(name) if isinstance(found, dict) else None
