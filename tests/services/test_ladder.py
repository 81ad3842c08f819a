"""The ladder of a training: its checkpoints in order, rated, on one scale with the anchors."""

import json
from pathlib import Path

import pytest

from deploy.cli.ladder import read_checkpoints
from services.reporter.ladder import ladder, render_ladder
from shared.errors import NotFound
from tests.services import made
from tests.trainer.learned import recipe


def test_rungs_stand_in_the_order_of_the_training_and_anchors_below() -> None:
    early, late = "tgi:checkpoint-2", "tgi:checkpoint-10"
    won = {(early, "heuristic"): 1, (late, "heuristic"): 3, (late, "random"): 3}
    runs = [
        made.run_of([made.battle(index, "p1" if index < wins else "p2") for index in range(4)], p1=p1, p2=p2)
        for (p1, p2), wins in won.items()
    ]

    found = ladder(runs, {early: "step 2", late: "step 10"}, "heuristic")

    first, last = found.rungs
    assert (first.name, last.name) == ("step 2", "step 10")
    assert {each.name for each in found.anchors} == {"heuristic", "random"}
    assert (first.rating.rating or 0) < 1000 < (last.rating.rating or 0)
    assert first.at is not None and last.at is not None
    assert first.at[0] < last.at[0] and first.at[2] > last.at[2]
    page = render_ladder(found, "<b>mine</b>")
    assert page.count("<circle") == 2 and "<b>mine" not in page


def test_checkpoints_are_read_in_the_order_of_their_steps_and_halves_left_out(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="holds no checkpoint"):
        read_checkpoints(tmp_path)
    for step in (10, 2, 30):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "adapter_config.json").write_text("{}")
    for step in (10, 2):
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    (tmp_path / "training.json").write_text(json.dumps({"recipe": recipe(tmp_path).model_dump(mode="json")}))

    checkpoints, contract = read_checkpoints(tmp_path)

    assert ([path.name for path in checkpoints], contract) == (["checkpoint-2", "checkpoint-10"], "v2")
