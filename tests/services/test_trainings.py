"""Where a training keeps what is not finished."""

import tempfile
import uuid
from pathlib import Path

from services.trainer.trainings import Trainings
from shared.store import Store


def test_checkpoints_lie_beside_the_request_on_a_disk(tmp_path: Path) -> None:
    folder = Trainings(Store(str(tmp_path))).checkpoints("one")

    assert folder == tmp_path / "trainings" / "one" / "work"


def test_with_a_bucket_they_lie_where_this_machine_has_room_for_large_files() -> None:
    trainings = Trainings(Store(f"memory://{uuid.uuid4().hex}"))

    assert trainings.checkpoints("one").parent == Path(tempfile.gettempdir()) / "alphastral-trainings"
    assert trainings.checkpoints("one") != trainings.checkpoints("two")
