"""Saves a model so that transformers 5 loads it, and transformers 4.51 as well, which TGI 3.3.7 is built on.

transformers 5 writes some fields in other places than transformers 4 looks for them, and 4 does not complain: without
`rope_theta` it computes positions with a default of its own, and the model talks nonsense. So both are written.
"""

import json
from pathlib import Path
from typing import Any

from shared.errors import BrokenRecord

_FAST = "PreTrainedTokenizerFast"
_BOOKKEEPING = ("backend", "is_local", "local_files_only")
"""What transformers 5 notes of how it came by a tokenizer: nobody else's business."""


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save a model (or an adapter) and its tokenizer into one folder, as it is to be published."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    make_loadable(folder)


def make_loadable(folder: Path) -> None:
    """Write what transformers 4 looks for into a folder that transformers 5 saved; a second time changes nothing.

    Raises BrokenRecord where a configuration is no JSON object.
    """
    if (folder / "config.json").exists():
        config = _read(folder / "config.json")
        for part in (config, config.get("text_config")):
            if isinstance(part, dict):
                _add_old_fields(part)
        _write(folder / "config.json", config)
    if (folder / "tokenizer_config.json").exists():
        _write(folder / "tokenizer_config.json", _old_tokenizer(folder))


def _add_old_fields(config: dict[str, Any]) -> None:
    if "dtype" in config:
        config["torch_dtype"] = config["dtype"]
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        config["rope_theta"] = rope["rope_theta"]
        scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
        if scaling.get("rope_type", "default") != "default":
            config["rope_scaling"] = scaling


def _old_tokenizer(folder: Path) -> dict[str, Any]:
    config = _read(folder / "tokenizer_config.json")
    # Any class of transformers 5 that is read from tokenizer.json alone is this one in transformers 4.
    if (folder / "tokenizer.json").exists():
        config["tokenizer_class"] = _FAST
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    template = folder / "chat_template.jinja"
    if template.exists():
        # TGI's router looks for it here.
        config["chat_template"] = template.read_text(encoding="utf-8")
    return {name: value for name, value in config.items() if name not in _BOOKKEEPING}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenRecord(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BrokenRecord(f"{path} is no JSON object")
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
