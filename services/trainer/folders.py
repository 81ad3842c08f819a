"""A training's folder: whose it is, and which of its checkpoints is whole."""

import json
import shutil
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME

from services.trainer.recipes import Recipe
from services.trainer.samples import Splits
from shared.errors import Conflict, UsageError
from shared.store import replace_file
from shared.text import one_line


def claim(folder: Path, recipe: Recipe, splits: Splits, *, resume: bool) -> str | None:
    """Make the folder this training's own, and find the checkpoint to go on from.

    Raises Conflict where it holds another training, or this one without `resume`, and UsageError where nothing can be
    written. Another training that never came to a checkpoint (it was refused, say) gives way.
    """
    ours = {"recipe": recipe.model_dump(mode="json"), "dataset": splits.digest}
    path = folder / "training.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = _last_whole(folder)
        theirs = json.loads(path.read_text()) if path.exists() else None
        differs = theirs != json.loads(json.dumps(ours))
        if theirs is None or (differs and checkpoint is None):
            replace_file(path, json.dumps(ours, indent=2).encode())
            return None
        if differs:
            raise Conflict(
                f"{folder} holds a training by another recipe or on another dataset: choose another --output"
            )
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot train in {folder}: {one_line(error)}", field="output") from error
    if not resume:
        raise Conflict(f"{folder} holds a training already: go on with it by --resume, or choose another --output")
    return checkpoint


def _last_whole(folder: Path) -> str | None:
    """The last checkpoint that is whole. Halves, left by a training that was killed as it wrote, are removed."""
    whole: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        try:
            # What transformers writes last.
            whole[int(json.loads((path / TRAINER_STATE_NAME).read_text())["global_step"])] = path
        except (OSError, ValueError, KeyError, TypeError):
            shutil.rmtree(path, ignore_errors=True)
    return str(whole[max(whole)]) if whole else None
