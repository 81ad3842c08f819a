"""Models to and from the Hub: what is sent comes back the same, and what is hostile there stays there."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.errors import NotFound, Unreachable, UsageError
from shared.hub import Hub
from shared.registry import DatasetUsed, RecipeUsed, Registry
from shared.registry.exchange import pull, push
from shared.store import Store
from tests.standins import hub as standin
from tests.standins.registry import OWN, card, safetensors, trained

KEY = "hf_very-secret"


@pytest.fixture
def the_hub() -> Iterator[standin.Hub]:
    with standin.hub(KEY) as made:
        yield made


@pytest.fixture
def client(the_hub: standin.Hub) -> Hub:
    return Hub(the_hub.url, SecretStr(KEY))


@pytest.fixture(params=["folder", "bucket"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    return Registry(Store(str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"))


def headed(header: bytes) -> bytes:
    """Weights with a header of somebody's own."""
    return len(header).to_bytes(8, "little") + header


def dated(moment: str) -> bytes:
    """A card with a time of somebody's own."""
    return card().model_dump_json().replace("2026-11-22T12:00:00Z", moment).encode()


def files(**more: bytes) -> dict[str, bytes]:
    """A repository as somebody else made it."""
    return {
        "config.json": b'{"model_type": "llama"}',
        "tokenizer_config.json": b"{}",
        "model.safetensors": safetensors(b"abcd"),
        **{name.replace("__", "."): content for name, content in more.items()},
    }


def test_a_version_that_is_pushed_and_pulled_is_the_same(
    registry: Registry, client: Hub, the_hub: standin.Hub, tmp_path: Path
) -> None:
    made = card(
        recipe=RecipeUsed(name="smoke", values={"learning_rate": 1e-3}),
        dataset=DatasetUsed(name="self-play", hash="a" * 64, rows={"train": 10}, counts={"kind": {"move": 10}}),
        metrics={"decision_accuracy": 0.84},
        license="apache-2.0",
        software={"torch": "2.13.0"},
    )
    version = registry.publish("smol", trained(tmp_path / "trained"), made)

    where = push(registry, "smol", version, client, "me/smol")
    pulled = pull(registry, "me/smol", "copy", client)

    repo = the_hub.repos["models", "me/smol"]
    before, after = registry.card("smol", version), registry.card("copy", pulled)
    assert (where, repo.private, repo.commits) == (f"{the_hub.url}/me/smol", True, [f"smol@{version}"])
    assert after.pulled_from == f"me/smol@{repo.commit}"
    assert after.model_copy(update={"pulled_from": None}) == before
    assert the_hub.keys_seen_by == {"127.0.0.1"}


def test_the_page_on_the_hub_says_what_a_person_asks_first(
    registry: Registry, client: Hub, the_hub: standin.Hub, tmp_path: Path
) -> None:
    made = card(
        base="HuggingFaceTB/SmolLM2-135M-Instruct",
        recipe=RecipeUsed(name="smoke", values={"note": "<script>alert(1)</script> | # x"}),
        dataset=DatasetUsed(name="self-play", hash="a" * 64, rows={"train": 1234}),
        metrics={"decision_accuracy": 0.84},
        license="apache-2.0",
    )
    version = registry.publish("smol", trained(tmp_path / "trained"), made)

    push(registry, "smol", version, client, "me/smol")

    page = the_hub.repos["models", "me/smol"].files["README.md"].decode()
    head, body = page.split("---\n")[1:]
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct\n" in head and "license: apache-2.0\n" in head
    for said in (f"v2 ({OWN['v2'][:12]})", "models pull me/smol smol", "0.84", "1,234 rows train", f"smol@{version}"):
        assert said.replace("_", r"\_") in body or said in body
    assert r"\<script\>" in body and "<script>" not in body


def test_a_second_push_leaves_no_weights_of_the_first(
    registry: Registry, client: Hub, the_hub: standin.Hub, tmp_path: Path
) -> None:
    repo = the_hub.put("me/smol", files(extra__safetensors=b"old", notes__txt=b"mine"))
    version = registry.publish("smol", trained(tmp_path / "trained"), card())

    push(registry, "smol", version, client, "me/smol")

    assert "extra.safetensors" not in repo.files and repo.files["notes.txt"] == b"mine"


def test_a_model_of_somebody_else_gets_a_card_without_a_contract(
    registry: Registry, client: Hub, the_hub: standin.Hub
) -> None:
    the_hub.put("them/big", files())

    version = pull(registry, "them/big", "big", client)

    made = registry.card("big", version)
    assert (made.base, made.kind, made.architecture, made.contract) == ("them/big", "merged", "llama", {})


def test_an_adapter_of_somebody_else_is_known_by_its_base(
    registry: Registry, client: Hub, the_hub: standin.Hub
) -> None:
    adapter = files(adapter_config__json=b'{"base_model_name_or_path": "them/base"}')
    adapter["adapter_model.safetensors"] = adapter.pop("model.safetensors")
    the_hub.put("them/lora", adapter)

    made = registry.card("lora", pull(registry, "them/lora", "lora", client))

    assert (made.base, made.kind) == ("them/base", "adapter")


def test_nothing_but_weights_and_words_is_taken_from_a_hostile_repository(
    registry: Registry, client: Hub, the_hub: standin.Hub, tmp_path: Path
) -> None:
    hostile = files(pytorch_model__bin=b"pickle", modeling__py=b"import os")
    hostile |= {"../../escape.json": b"{}", "/tmp/escape.json": b"{}", "sub/config.json": b"{}", "a b.json": b"{}"}
    hostile[".hidden.json"] = b"{}"
    the_hub.put("them/evil", hostile)

    version = pull(registry, "them/evil", "evil", client)

    assert registry.card("evil", version).files.keys() == files().keys()
    fetched = [path for path in the_hub.asked if "/resolve/" in path]
    assert {path.rpartition("/")[2] for path in fetched} == files().keys()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"model.safetensors": None, "pytorch_model.bin": b"pickle"},
            r"holds no \*\.safetensors; other weights can run",
        ),
        ({"model.safetensors": b"not weights"}, "no safetensors file"),
        ({"config.json": b"[" * 100_000}, "no JSON object"),
        ({"config.json": b"x" * 1_000_001}, "longer than 1000000 bytes"),
        ({"config.json": None}, "holds no config.json"),
        ({"card.json": b'{"base": 1}'}, "no card of ours"),
        ({"card.json": card(base="--trust-remote-code").model_dump_json().encode()}, "as no model is"),
        ({"adapter_config.json": b'{"base_model_name_or_path": "-m"}'}, "as no model is"),
        ({"card.json": dated("0001-01-01T00:00:00+23:00")}, "created_at is beyond all dates"),
        ({"model.safetensors": headed(b"[" * 100_000)}, "no safetensors file"),
        ({"model.safetensors": headed(b'{"w": {"data_offsets": [0, "x"]}}')}, "no safetensors file"),
        ({"model.safetensors": None, "config.json": None, "tokenizer_config.json": None}, "holds none of the files"),
        ({"huge.safetensors": safetensors(b"\0" * 4_000_000)}, "more than the 0.0 GB allowed"),
        ({f"{number}.json": b"{}" for number in range(1001)}, "more than 1000 files"),
    ],
)
def test_a_repository_that_holds_no_model_of_ours_publishes_nothing(
    registry: Registry, client: Hub, the_hub: standin.Hub, changes: dict[str, bytes | None], reason: str
) -> None:
    the_hub.put("them/evil", {name: content for name, content in (files() | changes).items() if content is not None})

    with pytest.raises(UsageError, match=reason):
        pull(registry, "them/evil", "evil", client, max_bytes=3_000_000)

    assert registry.names() == []


def test_a_card_of_somebody_else_cannot_speak_for_files(registry: Registry, client: Hub, the_hub: standin.Hub) -> None:
    lying = card(files={"../../secret.json": {"bytes": 1, "sha256": "a" * 64}}, pulled_from="nobody")
    the_hub.put("them/evil", files(card__json=lying.model_dump_json().encode()))

    version = pull(registry, "them/evil", "evil", client)

    assert registry.check("evil", version).files.keys() == files().keys()


def test_what_goes_wrong_at_the_hub_is_told_in_a_sentence(
    registry: Registry, client: Hub, the_hub: standin.Hub, tmp_path: Path
) -> None:
    version = registry.publish("smol", trained(tmp_path / "trained"), card())

    with pytest.raises(NotFound, match="shows no repository me/nothing"):
        pull(registry, "me/nothing", "x", client)
    with pytest.raises(UsageError, match="no repository's name"):
        pull(registry, "../../etc", "x", client)
    with pytest.raises(UsageError, match="set HF_TOKEN"):
        push(registry, "smol", version, Hub(the_hub.url, None), "me/smol")
    with pytest.raises(Unreachable, match="refused me/smol with 401: Invalid credentials") as told:
        push(registry, "smol", version, Hub(the_hub.url, SecretStr("hf_wrong")), "me/smol")
    assert "hf_wrong" not in str(told.value)
    the_hub.full = True
    with pytest.raises(Unreachable, match="there is no room left"):
        push(registry, "smol", version, client, "me/smol")
    assert the_hub.repos["models", "me/smol"].commits == []


def test_a_dataset_is_sent_the_same_way(client: Hub, the_hub: standin.Hub) -> None:
    rows = b"".join(json.dumps({"prompt": number}).encode() + b"\n" for number in range(3))

    where = client.push("me/rows", {"train.jsonl": rows}, "rows", kind="dataset", private=False)

    assert where == f"{the_hub.url}/datasets/me/rows"
    assert the_hub.repos["datasets", "me/rows"].files == {"train.jsonl": rows}
