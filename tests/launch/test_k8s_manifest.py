"""What is applied for a job, held to the published schemas of several versions of Kubernetes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import ValidationError, validate

from trainer.core.errors import ConfigError
from trainer.launch.job import Job
from trainer.launch.k8s import Kubernetes
from trainer.launch.k8s.job_manifest import manifests
from trainer.launch.k8s.mounts import find_mistakes
from trainer.launch.k8s.pod_job import lost_run_warning, pod_output_dir, resource_name
from trainer.schema import LauncherConfig

VERSIONS = ("1.29", "1.33", "1.37")
OPTIONS: dict[str, dict[str, Any]] = {
    "least": {},
    "several nodes": {"nodes": 3, "gpus": 8, "max_restarts": 2},
    "everything": {
        "gpus": 1,
        "cpus": 3.5,
        "memory_gb": 31.5,
        "shm_gb": 4.0,
        "time_minutes": 90.0,
        "image_pull_policy": "Always",
        "image_pull_secrets": ["registry"],
        "pvc": ["runs:/data/runs", "data/coco:/data/coco:ro", "data/voc:/data/voc:ro"],
        "node_selector": {"nvidia.com/gpu.product": "H200", "zone": 1},
        "tolerations": ["nvidia.com/gpu", "spot:NoSchedule", "team=vision:NoExecute"],
        "priority_class": "low",
        "service_account": "trainer",
        "env_from": ["mlflow-login"],
        "labels": {"team": "vision", "cost-centre": 7},
        "annotations": {"note": "a: b\n\"c\""},
        "workdir": "/data",
        "output_dir": "/data/runs",
        "ttl_seconds": None,
        "user": None,
    },
    "by its name": {"gpu_resource": "amd.com/gpu", "gpus": 4, "nproc": 2, "namespace": "other"},
}  # fmt: skip


def job(
    folder: Path = Path("/home/me/work"), id: str = "tiny-1", words: tuple[str, ...] = (), **options: Any
) -> Job:
    return Job(
        id=id,
        argv=("train", "model=rtmdet-s", *words, f"id={id}", "resume=auto"),
        cwd=folder,
        folder=folder / "runs" / ".launched" / id,
        title="train rtmdet-s on digits",
        environment={"MLFLOW_TRACKING_URI": "http://mlflow", "PYTHONPATH": "/home/me/code", "DB_PASSWORD": "hidden!"},
        options=LauncherConfig(**{"name": "kubernetes", "image": "registry.example/trainer-openmm:1", **options}),
        run_dir=folder / "runs" / "digits-detection" / id,
    )  # fmt: skip


def made(one: Job, kind: str, secret: bool = False) -> dict[str, Any]:
    return next(body for body in manifests(one, "team", secret=secret) if body["kind"] == kind)


def container(one: Job) -> dict[str, Any]:
    found: dict[str, Any] = made(one, "Job")["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_fits_the_schemas(options: dict[str, Any]) -> None:
    for body in manifests(job(**options), "team", secret=True):
        for version in VERSIONS:
            validate(body, version, strict=True)


def test_the_schemas_refuse() -> None:
    body = made(job(), "Job")
    body["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(ValidationError):
        validate(body, "1.37", strict=True)


def test_pods_of_a_pytorchjob_fit_the_schemas() -> None:
    """Kubeflow's own schema isn't published there; what its pods are made of is."""
    spec = made(job(kind="pytorchjob", nodes=3, gpus=2, max_restarts=1), "PyTorchJob")["spec"]
    assert {kind: one["replicas"] for kind, one in spec["pytorchReplicaSpecs"].items()} == {
        "Master": 1,
        "Worker": 2,
    }
    assert spec["nprocPerNode"] == "2"
    for one in spec["pytorchReplicaSpecs"].values():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": one["template"]["spec"]}
        validate(pod, "1.37", strict=True)
        assert pod["spec"]["containers"][0]["name"] == "pytorch"  # the operator looks for it


def test_words_and_variables_are_in_the_secret_alone() -> None:
    one = job(words=("name='a \"b\" $c'", "tracking.uri=http://me:hidden!@host"))
    bodies = manifests(one, "team", secret=True)
    assert [body["kind"] for body in bodies] == ["Secret", "Job"]
    held = json.loads(bodies[0]["stringData"]["job.json"])
    assert held["words"] == list(one.argv)
    assert held["environment"]["DB_PASSWORD"] == "hidden!"
    assert "PYTHONPATH" not in held["environment"]  # a path of this machine
    assert "hidden!" not in json.dumps(bodies[1:])
    assert "model=rtmdet-s" not in json.dumps(bodies[1:])
    volume = bodies[1]["spec"]["template"]["spec"]["volumes"][0]
    assert volume == {"name": "job", "secret": {"secretName": "tiny-1", "defaultMode": 0o400}}


def test_named_variables_travel_whatever_they_are() -> None:
    held = json.loads(made(job(env=["PYTHONPATH"]), "Secret", secret=True)["stringData"]["job.json"])
    assert held["environment"]["PYTHONPATH"] == "/home/me/code"


def test_the_plan_masks_and_is_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    one = job(words=("tracking.uri=http://me:hidden!@host",), nodes=2)
    text = Kubernetes(one.options).plan(one).text
    assert "hidden!" not in text and "masked" in text.splitlines()[0]
    assert list(yaml.safe_load_all(text)) == manifests(one, "default")
    assert [body["kind"] for body in yaml.safe_load_all(text)] == ["Secret", "Service", "Job"]


def test_pods_may_do_nothing_that_they_need_not() -> None:
    spec = made(job(), "Job")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 1000
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert "runAsUser" not in made(job(user=None), "Job")["spec"]["template"]["spec"]["securityContext"]


def test_it_starts_in_a_folder_that_it_may_write_to() -> None:
    def kinds(one: Job) -> list[str]:
        volumes = {
            volume["name"]: volume for volume in made(one, "Job")["spec"]["template"]["spec"]["volumes"]
        }
        found = [mount for mount in container(one)["volumeMounts"] if mount["mountPath"] == "/workspace"]
        return ["emptyDir" if "emptyDir" in volumes[mount["name"]] else "claim" for mount in found]

    assert container(job())["workingDir"] == "/workspace"
    assert kinds(job()) == ["emptyDir"]
    assert kinds(job(pvc=["mine:/workspace"])) == ["claim"]
    assert kinds(job(workdir=None)) == [] and "workingDir" not in container(job(workdir=None))


def test_resources() -> None:
    resources = container(job(gpus=2, cpus=4, memory_gb=32, gpu_resource="amd.com/gpu"))["resources"]
    assert resources["limits"] == {"memory": "32Gi", "amd.com/gpu": "2"}
    assert resources["requests"] == {"cpu": "4", "memory": "32Gi", "amd.com/gpu": "2"}
    assert "resources" not in container(job())
    assert container(job(memory_gb=1.5))["resources"]["limits"]["memory"] == "1536Mi"


def test_several_nodes_meet_at_the_first() -> None:
    one = job(nodes=2, gpus=8, max_restarts=3, port=4321)
    bodies = {body["kind"]: body for body in manifests(one, "team", secret=True)}
    spec = bodies["Job"]["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (2, 2, "Indexed")
    assert spec["backoffLimit"] == 6  # each restart counts both pods
    assert spec["template"]["spec"]["subdomain"] == bodies["Service"]["metadata"]["name"]
    selector = bodies["Service"]["spec"]["selector"]
    assert selector.items() <= spec["template"]["metadata"]["labels"].items()
    assert bodies["Service"]["spec"]["clusterIP"] == "None"
    options = json.loads(bodies["Secret"]["stringData"]["job.json"])["options"]
    assert (options["rdzv_endpoint"], options["nproc"]) == ("tiny-1-0.tiny-1:4321", 8)
    assert options["max_restarts"] == 0  # it is the cluster that restarts


def test_what_counts_as_a_failure() -> None:
    rules = made(job(), "Job")["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["FailJob", "Ignore"]
    assert rules[0]["onExitCodes"]["values"] == [2]
    assert made(job(), "Job")["spec"]["backoffLimit"] == 0


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("rtmdet-tiny-20261123-101112-ab12", "rtmdet-tiny-20261123-101112-ab12"),
        ("Faster_RCNN+R50", "faster-rcnn-r50"),
        ("2of3", "t-2of3"),
    ],
)
def test_names(id: str, name: str) -> None:
    assert resource_name(job(id=id)) == name


def test_long_names_stay_different() -> None:
    first, second = (resource_name(job(id="x" * 80 + end)) for end in "ab")
    assert first != second and max(len(first), len(second)) <= 52


def test_where_the_pods_write(tmp_path: Path) -> None:
    assert str(pod_output_dir(job())) == "/workspace/runs"
    assert str(pod_output_dir(job(workdir=None))) == "runs"
    assert str(pod_output_dir(job(output_dir="/data/runs"))) == "/data/runs"
    assert str(pod_output_dir(job(words=("output_dir=/home/me/work/runs",)))) == "/home/me/work/runs"
    told = json.loads(made(job(output_dir="/data/runs"), "Secret", secret=True)["stringData"]["job.json"])
    assert told["words"][-1] == "output_dir=/data/runs"
    assert told["run_dir"] == "/data/runs/digits-detection/tiny-1"


def test_says_when_the_run_goes_with_its_pods() -> None:
    assert "launcher.pvc" in (lost_run_warning(job()) or "")
    assert "in no claim of launcher.pvc" in (
        lost_run_warning(job(output_dir="/runs", pvc=["runs:/data"])) or ""
    )
    assert lost_run_warning(job(output_dir="/data/runs", pvc=["runs:/data:ro"])) is not None
    assert lost_run_warning(job(output_dir="/data/runs", pvc=["runs:/data"])) is None


def test_all_mistakes_at_once() -> None:
    options = job(
        image=None,
        pvc=["runs", "a:/x", "b:/x", "c:/tmp"],
        tolerations=["a b", "key:NoShedule"],
        output_dir="runs",
        nproc=4,
        gpus=2,
    ).options
    found = "\n".join(find_mistakes(options))
    for part in ("launcher.image", "'runs'", "/x is mounted", "/tmp is mounted", "'a b'", "Did you mean 'NoSchedule'",
                 "launcher.output_dir", "launcher.nproc=4"):  # fmt: skip
        assert part in found
    with pytest.raises(ConfigError, match=r"launcher\.image"):
        Kubernetes(options).plan(job(image=None))
