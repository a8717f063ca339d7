"""The team's servers: who waits for whom, what is kept, who may call, and that no secret is written down."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.container.files import ROOT, dockerfile

FOLDER = ROOT / "launchers" / "compose"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (FOLDER / ".env.example").read_text(encoding="utf-8")
PASSWORDS = ("POSTGRES_PASSWORD", "MINIO_ROOT_PASSWORD")


def interpolated(text: str, variables: dict[str, str]) -> str:
    """``${NAME:-default}`` and ``${NAME:?message}`` as compose replaces them; ``$$`` is a dollar."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, operator, rest = match["name"], match["operator"], match["rest"] or ""
        found = variables.get(name, "")
        if operator == ":?" and not found:
            raise LookupError(rest)
        return found or (rest if operator == ":-" else "")

    pattern = r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:[-?])(?P<rest>[^}]*))?\}"
    return re.sub(pattern, value, text)


def resolved(**variables: str) -> dict[str, dict[str, Any]]:
    given = {name: f"made-up-{name}" for name in PASSWORDS} | variables
    return json.loads(interpolated(json.dumps(SERVICES), given))


def test_services():
    assert set(SERVICES) == {"postgres", "minio", "buckets", "mlflow", "optuna-dashboard", "trainer"}
    assert SERVICES["trainer"]["profiles"] == ["train"]  # "up" starts no training


def test_who_is_waited_for_says_when_it_is_ready():
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert SERVICES[other]["healthcheck"]["test"][0] == "CMD", (name, other)
            else:
                assert how["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"] == "no", (name, other)


def test_databases_are_there_before_anybody_asks():
    created = re.findall(r"CREATE DATABASE (\w+)", (FOLDER / "databases.sql").read_text(encoding="utf-8"))
    postgres = SERVICES["postgres"]
    there = {postgres["environment"]["POSTGRES_DB"], *created}
    used = [
        SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"],
        SERVICES["optuna-dashboard"]["environment"]["STORAGE"],
    ]
    for uri in map(urlsplit, used):
        assert (uri.hostname, uri.username) == ("postgres", postgres["environment"]["POSTGRES_USER"])
        assert uri.path.strip("/") in there and uri.password is None
    # Made last, so that a healthy server has both.
    assert postgres["healthcheck"]["test"][-1] == created[-1]
    assert "./databases.sql:/docker-entrypoint-initdb.d/databases.sql:ro" in postgres["volumes"]


def test_volumes_are_named_and_files_are_there():
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    for source, target, *_ in mounts:
        assert (FOLDER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        assert target.startswith("/")
    assert {source for source, *_ in mounts if not source.startswith(".")} == set(COMPOSE["volumes"])


def test_it_builds_stages_that_the_dockerfile_has():
    arguments, stages = dockerfile()
    names = [stage.name for stage in stages]
    known = {*arguments, *(name for stage in stages for name in stage.pairs("ARG"))}
    images: dict[str, str] = {}
    for service in resolved().values():
        if "build" in service:
            build = service["build"]
            assert (FOLDER / build["context"]).resolve() == ROOT and build["target"] in names
            assert set(build["args"]) <= known
            assert all(arguments.get(name, "") == value for name, value in build["args"].items())
            assert images.setdefault(service["image"], build["target"]) == build["target"]
    assert images == {"trainer-openmm-servers:latest": "servers", "trainer-openmm:latest": "trainer"}


def test_passwords_come_from_env_alone_and_must_be_set():
    given = dict(line.split("=", 1) for line in EXAMPLE.splitlines() if line and not line.startswith("#"))
    assert all(given[name] == "" for name in PASSWORDS)
    for name in PASSWORDS:
        with pytest.raises(LookupError, match=f"set {name} in"):
            resolved(**{name: ""})
    secret = re.compile(r"PASS|SECRET|TOKEN|ACCESS_KEY$")
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            assert not secret.search(key) or re.fullmatch(r"\$\{\w+:[-?][^}]*\}", value), (name, key)
    subprocess.run(["git", "check-ignore", "-q", str(FOLDER / ".env")], cwd=ROOT, check=True)


def test_no_password_is_on_a_command_line_or_in_an_address():
    for name, service in resolved().items():
        shown = json.dumps({key: value for key, value in service.items() if key != "environment"})
        assert "made-up-" not in shown, name
        for key, value in service.get("environment", {}).items():
            assert "made-up-" not in value or value in {f"made-up-{one}" for one in PASSWORDS}, (name, key)


def test_every_variable_is_explained():
    used = set(re.findall(r"\$\{(\w+)", (FOLDER / "compose.yaml").read_text(encoding="utf-8")))
    assert used == set(re.findall(r"^#? ?(\w+)=", EXAMPLE, re.MULTILINE))


def test_only_this_machine_reaches_the_servers_until_somebody_says_otherwise():
    ports = [port for service in resolved().values() for port in service.get("ports", [])]
    assert len(ports) == 4 and all(port.startswith("127.0.0.1:") for port in ports)
    assert "ports" not in SERVICES["postgres"]
    opened = [port for service in resolved(BIND="0.0.0.0").values() for port in service.get("ports", [])]
    assert all(port.startswith("0.0.0.0:") for port in opened)


def test_mlflow_answers_to_the_names_that_it_is_called_by():
    services = resolved(MLFLOW_HOST="tracking.team")
    allowed = services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    trainers = urlsplit(services["trainer"]["environment"]["MLFLOW_TRACKING_URI"]).netloc
    for host in (trainers, "localhost:5000", "127.0.0.1:5000", "tracking.team:5000"):
        assert any(fnmatch.fnmatch(host, pattern) for pattern in allowed), host
    assert not any(fnmatch.fnmatch("elsewhere:5000", pattern) for pattern in allowed)
    assert resolved()["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")[-1] == "localhost:*"


def test_the_trainer_has_the_stores_the_buckets_and_time_to_save():
    trainer = resolved()["trainer"]
    buckets = resolved()["buckets"]["environment"]["BUCKETS"].split()
    assert {"mlflow", "training-datasets", "training-checkpoints"} == set(
        buckets
    )  # trainer/core/s3.py's defaults
    for store in ("EXTERNAL", "INTERNAL"):
        assert trainer["environment"][f"{store}_STORAGE_ENDPOINT"] == "http://minio:9000"
        assert trainer["environment"][f"{store}_STORAGE_SECRET_KEY"] == "made-up-MINIO_ROOT_PASSWORD"
    seconds = int(trainer["stop_grace_period"].rstrip("s"))
    from trainer.platform.supervisor import STOP_SECONDS

    assert seconds > STOP_SECONDS
    folders = [mount.split(":")[1] for mount in trainer["volumes"]]
    assert trainer["working_dir"] in folders
    assert (
        trainer["environment"]["TRAINER_CACHE"] in folders
        and trainer["environment"]["TRAINER_WEIGHTS"] in folders
    )


def test_gpus_are_added_to_the_trainer_alone():
    added = yaml.safe_load((FOLDER / "gpu.yaml").read_text(encoding="utf-8"))
    assert set(added) == {"services"} and set(added["services"]) == {"trainer"}
    (device,) = added["services"]["trainer"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


@pytest.mark.skipif(
    not shutil.which("check-jsonschema"),
    reason="no check-jsonschema on the PATH (pip install check-jsonschema)",
)
@pytest.mark.parametrize("name", ["compose.yaml", "gpu.yaml"])
def test_it_follows_the_compose_specification(name: str):
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(Path(FOLDER, name))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
