"""The manifests for Kubernetes: valid by Kubernetes' own schemas, and true to what the code does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from shared.jobs.routes import ROUTES
from shared.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "containers" / "k8s"
VERSION = "1.33"
OF_KEDA = {"ScaledObject", "TriggerAuthentication"}


def documents() -> Iterator[tuple[str, Any]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
                yield f"{path.name}: {document['kind']} {document['metadata']['name']}", document


def container(workload: Any) -> Any:
    [only] = workload["spec"]["template"]["spec"]["containers"]
    return only


def commanded(workload: Any) -> list[str]:
    return list(container(workload).get("command", ()))


DOCUMENTS = dict(documents())
WORKLOADS = {name: one for name, one in DOCUMENTS.items() if one["kind"] in {"Deployment", "StatefulSet"}}
SCALED = {name: one for name, one in DOCUMENTS.items() if one["kind"] == "ScaledObject"}


@pytest.mark.parametrize("name", [name for name, one in DOCUMENTS.items() if one["kind"] not in OF_KEDA])
def test_a_manifest_is_valid_by_kubernetes_schema(name: str) -> None:
    kubernetes_validate.validate(DOCUMENTS[name], VERSION, strict=True)


def test_the_schema_refuses_what_is_wrong() -> None:
    broken = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{"prot": 1}]}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_the_kustomization_lists_every_manifest_and_every_image() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))

    assert set(listed["resources"]) == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert {image["name"] for image in listed["images"]} == {container(one)["image"] for one in WORKLOADS.values()}


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_is_nobody_in_particular_writes_nowhere_and_is_bounded(name: str) -> None:
    pod = WORKLOADS[name]["spec"]["template"]["spec"]
    inside = container(WORKLOADS[name])

    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
    assert pod["automountServiceAccountToken"] is False
    assert inside["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert inside["resources"]["limits"]["memory"]
    assert inside["readinessProbe"]


WRITES = {
    "api": {"matchups", "tournaments", "scrapes", "builds", "trainings"},
    "arena": {"matchups", "tournaments"},
    "inference": {"models"},
    "redis": set[str](),
    "reporter": {"matchups", "tournaments"},
    "scraper": {"scrapes", "builds", "replays", "datasets"},
    "trainer": {"trainings", "models"},
}
"""Workload → the folders of the store that it may write, the same as in compose."""


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_may_write_what_is_its_own_and_gets_its_keys_as_files(name: str) -> None:
    workload, service = container(WORKLOADS[name]), WORKLOADS[name]["metadata"]["name"]
    mounts = [mount for mount in workload["volumeMounts"] if mount["name"] == "store"]

    assert {mount["subPath"] for mount in mounts if not mount.get("readOnly")} == WRITES[service]
    assert all(mount["mountPath"] == f"/store/{mount['subPath']}" for mount in mounts)
    assert [entry["name"] for entry in workload.get("env", ()) if "valueFrom" in entry] == []


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_reaches_no_more_than_it_must(name: str) -> None:
    label = WORKLOADS[name]["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
    policies = {one["metadata"]["name"]: one["spec"] for one in DOCUMENTS.values() if one["kind"] == "NetworkPolicy"}

    assert policies["closed"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    doors = {
        policy
        for policy, spec in policies.items()
        if spec.get("egress") and (not spec["podSelector"] or label in json.dumps(spec["podSelector"]))
    }
    assert (
        doors
        == {
            "redis": {"names"},
            "api": {"names", "queues"},
            "reporter": {"names", "queues"},
            "arena": {"names", "queues", "models", "outside"},
            "scraper": {"names", "queues", "outside"},
            "trainer": {"names", "queues", "outside"},
            "inference": {"names", "outside"},
        }[label]
    )


def test_settings_are_settings_and_no_secret_stands_among_them() -> None:
    given = DOCUMENTS["settings.yaml: ConfigMap settings"]["data"]

    assert {key.removeprefix("ALPHASTRAL_").lower() for key in given} <= Settings.model_fields.keys()
    assert not [name for name, one in DOCUMENTS.items() if one["kind"] == "Secret"]


@pytest.mark.parametrize("name", SCALED)
def test_a_worker_is_scaled_by_the_jobs_of_its_own_queue(name: str) -> None:
    scaled = SCALED[name]
    spec, queue = scaled["spec"], scaled["metadata"]["name"]
    target = next(one for one in WORKLOADS.values() if one["metadata"]["name"] == spec["scaleTargetRef"]["name"])
    authentications = {one["metadata"]["name"] for one in DOCUMENTS.values() if one["kind"] == "TriggerAuthentication"}

    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    assert spec["minReplicaCount"] == 0
    assert spec["maxReplicaCount"] > 1
    assert "replicas" not in target["spec"]
    assert container(target)["command"][-1] == queue
    assert queue in {route.queue for route in ROUTES.values()}
    assert [trigger["metadata"]["listName"] for trigger in spec["triggers"]] == [f"rq:queue:{queue}", f"rq:wip:{queue}"]
    assert spec["advanced"]["scalingModifiers"]["formula"] == " + ".join(one["name"] for one in spec["triggers"])
    for trigger in spec["triggers"]:
        assert trigger["type"] == "redis"
        assert trigger["authenticationRef"]["name"] in authentications
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_every_queue_has_a_worker() -> None:
    commands = [commanded(one) for one in WORKLOADS.values()]

    assert {route.queue for route in ROUTES.values()} <= {
        command[-1] for command in commands if "deploy.worker" in command
    }


@pytest.mark.parametrize("name", [name for name, one in WORKLOADS.items() if "deploy.worker" in commanded(one)])
def test_a_worker_is_not_ended_before_its_grace(name: str) -> None:
    variable = "ALPHASTRAL_WORKER_GRACE_SECONDS"
    own = {one["name"]: one.get("value") for one in container(WORKLOADS[name]).get("env", ())}
    grace = own.get(variable, DOCUMENTS["settings.yaml: ConfigMap settings"]["data"][variable])

    assert WORKLOADS[name]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= float(grace) + 5
