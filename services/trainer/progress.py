"""What is told of a training while it runs: metrics as JSON lines, and a picture of the loss at its end."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from shared.jobs.worker import HandedBack
from shared.store import replace_file

_WIDTH, _HEIGHT, _EDGE = 720, 300, 46


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a training is."""

    step: int
    steps: int
    loss: float | None
    learning_rate: float | None
    tokens_per_second: float | None
    seconds_left: float | None


@dataclass(slots=True)
class Telling(TrainerCallback):  # type: ignore[misc]
    """Writes every metric down, and tells how far the training is; ends it once `stopping`."""

    metrics_file: Path
    tokens_seen: Callable[[], int]
    on_standing: Callable[[Standing], None] = lambda standing: None
    stopping: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    _began: tuple[float, int, int] = (0.0, 0, 0)
    _latest: dict[str, float] = field(default_factory=dict)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Start the clock. What was written after the checkpoint that is gone on from will be written again."""
        self._began = (self.clock(), state.global_step, self.tokens_seen())
        if state.is_world_process_zero and self.metrics_file.exists():
            kept = [line for line in read_metrics(self.metrics_file) if line["step"] <= state.global_step]
            replace_file(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """After each step: tell how far it is, and save before ending where somebody said stop."""
        if state.is_world_process_zero:
            self.on_standing(self.standing(state))
        if self.stopping():
            control.should_save = control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, object] | None = None,
        **more: Any,
    ) -> None:
        """Write what the trainer logs; of several processes, one."""
        if not state.is_world_process_zero:
            return
        # It also logs what is no figure.
        given: Mapping[str, object] = logs or {}
        figures = {name: value for name, value in given.items() if isinstance(value, int | float)}
        self._latest.update(figures)
        line: dict[str, float] = {"step": state.global_step, **figures}
        if "loss" in figures and (speed := self.standing(state).tokens_per_second) is not None:
            line["tokens_per_second"] = round(speed, 1)
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def standing(self, state: TrainerState) -> Standing:
        """How far it is, at the pace since it was begun or gone on with."""
        began, first_step, first_tokens = self._began
        elapsed, steps = self.clock() - began, state.global_step - first_step
        return Standing(
            step=state.global_step,
            steps=state.max_steps,
            loss=self._latest.get("loss"),
            learning_rate=self._latest.get("learning_rate"),
            tokens_per_second=(self.tokens_seen() - first_tokens) / elapsed if steps and elapsed else None,
            seconds_left=(state.max_steps - state.global_step) * elapsed / steps if steps else None,
        )


def ended_early(state: TrainerState, stopping: Callable[[], bool]) -> None:
    """Raises HandedBack where a training was stopped before its last step: what is left is for another worker."""
    if state.global_step < state.max_steps and stopping():
        raise HandedBack


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The metrics that were written; a line that a killed process left unfinished is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def loss_picture(metrics: Sequence[Mapping[str, float]]) -> str:
    """Training loss, validation loss and decision accuracy by step, as SVG."""
    curves = {
        "training loss": ("#888888", [(line["step"], line["loss"]) for line in metrics if "loss" in line]),
        "validation loss": ("#d9480f", [(line["step"], line["eval_loss"]) for line in metrics if "eval_loss" in line]),
        "decision accuracy": (
            "#1864ab",
            [(line["step"], line["eval_decision_accuracy"]) for line in metrics if "eval_decision_accuracy" in line],
        ),
    }
    points = [point for _, curve in curves.values() for point in curve]
    last_step = max((step for step, _ in points), default=1) or 1
    top = max(1.0, min(3.0, max((value for _, value in points), default=1.0)))

    def place(step: float, value: float) -> str:
        x = _EDGE + (_WIDTH - 2 * _EDGE) * step / last_step
        y = _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * min(value, top) / top
        return f"{x:.1f},{y:.1f}"

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(0, tick * top).split(",")
        end = place(last_step, tick * top)
        lines.append(f'<polyline points="{x},{y} {end}" stroke="#dddddd" fill="none"/>')
        lines.append(f'<text font-size="12" x="6" y="{y}">{tick * top:.2f}</text>')
    for number, (name, (colour, curve)) in enumerate(curves.items()):
        path = " ".join(place(step, value) for step, value in curve)
        lines.append(f'<polyline points="{path}" stroke="{colour}" stroke-width="2" fill="none"/>')
        lines.append(f'<text font-size="12" x="{_EDGE + 170 * number}" y="20" fill="{colour}">{name}</text>')
    lines.append(f'<text font-size="12" x="{_WIDTH - 120}" y="{_HEIGHT - 14}">step {last_step:.0f}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"
