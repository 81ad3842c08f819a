"""Which engine serves a model, and the command that starts it: a table, and the only place that knows their flags.

TGI 3.3.7 and vLLM have not been run by us: the flags are those of their documentation.
https://huggingface.co/docs/text-generation-inference/reference/launcher   https://docs.vllm.ai/en/latest/cli/serve
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import UsageError
from shared.registry import ModelCard


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


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be served, and where."""

    model: str
    """NAME@VERSION: what the engine has to call it. Or what the engine itself finds, a model of the Hub."""
    published: Published | None
    """None for what the engine itself finds."""
    host: str
    port: int
    device: str = "cuda"
    more: Sequence[str] = ()
    """Arguments of the operator's, passed on as they are."""


Command = Callable[[Plan], list[str]]


def tgi(plan: Plan) -> list[str]:
    """Text Generation Inference shows the model under the path that it was given: so that is NAME@VERSION."""
    if plan.published and plan.published.is_adapter:
        # Its chat route would take NAME@VERSION for an adapter's name, which TGI splits at the @.
        raise UsageError(f"TGI cannot serve the adapter {plan.model} under its name: publish it merged, or use vLLM")
    where = ["--hostname", plan.host, "--port", str(plan.port)]
    return ["text-generation-launcher", "--model-id", plan.model, *where, *plan.more]


def vllm(plan: Plan) -> list[str]:
    """What vLLM calls a model is an argument of its own."""
    where, published = ["--host", plan.host, "--port", str(plan.port)], plan.published
    if published is None:
        return ["vllm", "serve", plan.model, *where, *plan.more]
    folder = published.folder
    if published.is_adapter:
        found = _field(folder / "adapter_config.json", "r")
        rank = found if isinstance(found, int) and found > 0 else 16
        lora = ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", f"{plan.model}={folder}"]
        return ["vllm", "serve", published.card.base, *where, *lora, *plan.more]
    return ["vllm", "serve", str(folder), "--served-model-name", plan.model, *where, *plan.more]


def builtin(plan: Plan) -> list[str]:
    """Our own server reads the registry itself. An adapter's base is served beside it: it is loaded anyway."""
    where = ["--host", plan.host, "--port", str(plan.port), "--device", plan.device]
    base = [plan.published.card.base] if plan.published and plan.published.is_adapter else []
    return [sys.executable, "-m", "deploy.serving", *base, plan.model, *where, *plan.more]


COMMANDS: Mapping[str, Command] = {"tgi": tgi, "vllm": vllm, "builtin": builtin}
IN_A_FOLDER_OF_LINKS = frozenset({"tgi"})
"""Engines that are started where `Plan.model` is a path."""
BY_ARCHITECTURE: Mapping[str, str] = {"llama": "tgi", "mistral": "tgi", "ministral3": "vllm", "mistral3": "vllm"}
"""`model_type` of the configuration → engine; the built-in server for all others."""


def choose(published: Published | None) -> str:
    """The engine for a version: by its architecture, and for adapters one that can name them."""
    if published is None:
        return "builtin"
    architecture = published.card.architecture or _field(published.folder / "config.json", "model_type")
    engine = BY_ARCHITECTURE.get(str(architecture), "builtin")
    return "builtin" if engine == "tgi" and published.is_adapter else engine


def _field(path: Path, name: str) -> object:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found.get(name) if isinstance(found, dict) else None


def folder_of_links(within: Path, model: str, folder: Path) -> Path:
    """A folder in which nothing but `model` lies: a link to the published files. Raises OSError."""
    within.mkdir(parents=True, exist_ok=True)
    for link in within.iterdir():
        if link.is_symlink():
            link.unlink()
    (within / model).symlink_to(folder.resolve(), target_is_directory=True)
    return within
