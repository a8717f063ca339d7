"""The files of launchers/kubernetes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from kubernetes_validate.utils import validate

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "launchers/kubernetes"


def test_they_fit_the_schemas_and_say_what_they_are_for() -> None:
    files = sorted(FOLDER.glob("*.yaml"))
    assert len(files) >= 4
    for path in files:
        assert path.read_text().startswith("# "), path
        for body in yaml.safe_load_all(path.read_text()):
            validate(body, "1.37", strict=True)


def test_the_job_is_what_its_command_prints(tmp_path: Path) -> None:
    """The words are in its second line; job.json, which has every key there is, is left out."""
    text = (FOLDER / "job.yaml").read_text()
    command = " ".join(line.strip("# \\") for line in text.split("\n\n")[0].splitlines()[1:])
    words = command.removeprefix("python -m trainer ").split()
    kubeconfig = {"KUBECONFIG": str(tmp_path / "none"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        cwd=tmp_path,
        env={**os.environ, **kubeconfig},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert _kept(text) == _kept(done.stdout)


def _kept(text: str) -> list[dict[str, Any]]:
    bodies = list(yaml.safe_load_all(text))
    bodies[0]["stringData"] = {}
    for body in bodies:
        for about in (
            body["metadata"],
            body["spec"]["template"]["metadata"] if "template" in body.get("spec", {}) else {},
        ):
            about.get("labels", {}).pop("app.kubernetes.io/version", None)
    return bodies
