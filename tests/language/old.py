"""transformers 4.51.3, which TGI 3.3.7 is built on, in a folder of its own beside ours, and questions to both."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from shared.settings import child_environment

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "tgi.txt"

ASK = """
import json, sys, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
chat = [{"role": "user", "content": "Turn 3. move Psychic Noise, move Psychic?"}]
logits = []
for folder in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits.append(model(torch.tensor([ids * 4])).logits)
    said = {"version": transformers.__version__, "text": text, "ids": ids, "dtype": str(model.dtype)}
    said["end"] = tokenizer.eos_token
    print("ANSWER", json.dumps(said))
torch.save(logits, sys.argv[1])
"""


@dataclass(frozen=True)
class Answer:
    """What a version of transformers makes of a published folder."""

    version: str
    text: str
    ids: Sequence[int]
    dtype: str
    end: str
    logits: torch.Tensor
    """(1, 4 × ids, vocabulary)"""


def install() -> Path:
    """The folder with the packages of requirements/tgi.txt, installed by the first test that asks."""
    folder = ROOT / ".venv" / f"tgi-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    with LOCK.open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
            how = ["--require-hashes", "--no-deps", "--upgrade", "--target", str(folder)]
            subprocess.run([*command, *how, "-r", str(LOCK)], check=True)
            (folder / "complete").touch()
    return folder


def ask(folders: Sequence[Path], logits: Path, packages: Path | None = None) -> list[Answer]:
    """Load folders in a process that has our packages, or those in `packages`, and ask each the same question."""
    command = [sys.executable, "-c", ASK, str(logits), *map(str, folders)]
    environment = child_environment(HF_HUB_OFFLINE="1", PYTHONPATH=os.fspath(packages) if packages else "")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = [json.loads(line.removeprefix("ANSWER")) for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    return [
        Answer(**one, logits=computed)
        for one, computed in zip(said, torch.load(logits, weights_only=True), strict=True)
    ]
