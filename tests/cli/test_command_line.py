"""The command line as a process: exit codes, help, Hydra's flags, resume."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer.cli import command_line
from trainer.cli.help import help_text as help_text
from trainer.config.compose import compose
from trainer.core.errors import CheckpointError, ConfigError
from trainer.schema import COMMANDS
from trainer.schema.conf_folders import Conf

ROOT = Path(__file__).parents[2]


def trainer(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    command = [sys.executable, "-m", "trainer", *words]
    return subprocess.run(
        command, cwd=cwd or ROOT, env=variables, capture_output=True, text=True, check=False
    )


def test_three_mistakes_end_with_2_and_without_a_traceback(tmp_path: Path) -> None:
    done = trainer("modle=rtmdet-s", "optimizer.lr=abc", "dataset=digitz", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'model'" in done.stderr
    assert "expected a number" in done.stderr
    assert "'digits'" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "a mistake leaves nothing behind"


def test_cfg_job_prints_what_is_composed(tmp_path: Path) -> None:
    done = trainer("model=rtmdet-s", "mm.a='1e3'", "runtime.amp=off", "--cfg", "job", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    printed = yaml.safe_load(done.stdout)
    assert (printed["model"]["name"], printed["mm"], printed["runtime"]["amp"]) == (
        "rtmdet-s",
        {"a": "1e3"},
        "off",
    )
    assert "hydra" not in printed
    assert list(tmp_path.iterdir()) == []


def test_cfg_job_by_package_and_resolved() -> None:
    done = trainer("mm.lr=${runtime.seed}", "--cfg", "job", "-p", "mm", "--resolve")
    assert (done.returncode, done.stdout) == (0, "# @package mm\nlr: 0\n")
    done = trainer("--cfg", "job", "-p", "optimiser")
    assert done.returncode == 2
    assert "'optimizer'" in done.stderr


@pytest.mark.parametrize("which", ["hydra", "all"])
def test_hydras_own_configuration_makes_no_folders(which: str, tmp_path: Path) -> None:
    done = trainer("hydra.verbose=true", "--cfg", which, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = yaml.safe_load(done.stdout)
    assert printed["hydra"]["run"]["dir"] == "."
    assert printed["hydra"]["output_subdir"] is None
    assert printed["hydra"]["verbose"] is True
    assert ("optimizer" in printed) == (which == "all")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["defaults", "defaults-tree", "searchpath", "config", "plugins", "all"])
def test_info(what: str, tmp_path: Path) -> None:
    done = trainer("--info", what, "experiment=digits", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() or what == "plugins"
    if what == "defaults":
        assert "experiment/digits" in done.stdout
        assert "optimizer/adamw" in done.stdout


def test_help_lists_groups_choices_and_examples() -> None:
    done = trainer("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for group, choices in Conf().groups.items():
        assert f"\n  {group} " in done.stdout
        for choice in choices:
            assert choice in done.stdout
    assert "python -m trainer experiment=digits" in done.stdout
    assert "--shell-completion" in done.stdout
    assert "opset" in trainer("export", "-h").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_the_help_compose(command: str) -> None:
    """Examples that can't be typed as they stand would be worse than none."""
    tried = 0
    for line in help_text(command).partition("examples")[2].partition("flags")[0].splitlines():
        words = line.partition("python -m trainer ")[2].partition("    ")[0].split()
        if words and "-m" not in words and not words[0].startswith("resume"):
            named, rest = command_line.split_command(words)
            assert named == command
            compose(named, rest)
            tried += 1
    assert tried


def test_version() -> None:
    done = trainer("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("trainer 0.")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "Did you mean 'train'"),
        (["model=rtmdet-s", "show"], "the command comes first"),
        (["--cfgg", "job"], "Did you mean '--cfg'"),
        (["--cfg", "jobs"], "invalid choice"),
        (["-m", "--cfg", "job"], "exclude each other"),
        (["--config-dir", "/no/such/folder"], "no such folder"),
        (["--shell-completion", "install=tcsh"], "bash, zsh, fish"),
    ],
)
def test_wrong_words_and_flags(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert expected in said.err


class Spy:
    """In place of a command's module."""

    def __init__(self, result: Any = 0) -> None:
        self.result = result
        self.calls: list[tuple[Any, list[str]]] = []

    def main(self, config: Any, overrides: list[str]) -> int:
        self.calls.append((config, overrides))
        if isinstance(self.result, BaseException):
            raise self.result
        return int(self.result)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy()
    monkeypatch.setitem(sys.modules, "trainer.commands.train", spy)  # type: ignore[misc]
    monkeypatch.setitem(sys.modules, "trainer.commands.export", spy)  # type: ignore[misc]
    return spy


def test_the_command_gets_the_configuration_and_what_was_typed(spy: Spy) -> None:
    assert command_line.main(["model=RTMDet_S", "mm.a=1"]) == 0
    assert command_line.main(["train", "runtime.epochs=3"]) == 0
    assert command_line.main(["export", "checkpoint=x", "opset=17"]) == 0
    (first, typed), (second, _), (third, _) = spy.calls
    assert (first.model.name, first.mm, typed) == ("rtmdet-s", {"a": 1}, ["model=RTMDet_S", "mm.a=1"])
    assert (second.runtime.epochs, third.opset) == (3, 17)


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (CheckpointError("best.pth is damaged"), 1, "CheckpointError: best.pth is damaged"),
        (ConfigError("no"), 2, "ConfigError: no"),
        (KeyboardInterrupt(), 130, "stopped"),
        (
            ZeroDivisionError("division by\nzero"),
            1,
            "ZeroDivisionError: division by zero (the traceback is in ",
        ),
    ],
)
def test_exit_codes(
    spy: Spy,
    raised: BaseException,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    spy.result = raised
    assert command_line.main([]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    if isinstance(raised, ZeroDivisionError):
        assert "ZeroDivisionError" in (tmp_path / "runs" / "error.log").read_text()


def make_run(output: Path, overrides: list[str]) -> str:
    from trainer.runs.run import Run

    run = Run.create(output, "digits", "rtmdet-s")
    (run.dir / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    return run.id


def test_resume_starts_from_what_was_typed_for_the_run(spy: Spy, tmp_path: Path) -> None:
    output = f"output_dir={tmp_path}"
    run = make_run(tmp_path, ["model=rtmdet-s", "runtime.epochs=3", output])
    assert command_line.main([output, "resume=latest", "runtime.epochs=9"]) == 0
    assert command_line.main([output, f"resume={run}"]) == 0
    (first, typed), (second, _) = spy.calls
    assert (first.model.name, first.runtime.epochs, first.resume) == ("rtmdet-s", 9, "latest")
    assert typed == ["model=rtmdet-s", output, "resume=latest", "runtime.epochs=9"]
    assert (second.runtime.epochs, second.resume) == (3, run)


def test_resume_true_takes_nothing_over(spy: Spy, tmp_path: Path) -> None:
    make_run(tmp_path, ["model=rtmdet-s"])
    assert command_line.main([f"output_dir={tmp_path}", "resume=true"]) == 0
    assert (spy.calls[0][0].model.name, spy.calls[0][0].resume) == ("rtmdet-tiny", True)


@pytest.mark.parametrize(
    ("reference", "content", "expected"),
    [
        ("rtmdet-x", "[]", "no run 'rtmdet-x'"),
        ("latest", "a: 1", "holds no list"),
        ("latest", "[", "can't be read"),
        ("latest", "['optimizer.lr=abc']", "expected a number"),
    ],
)
def test_resume_from_nothing_or_from_nonsense(
    reference: str, content: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, [])
    next(tmp_path.glob(f"*/{run}/overrides.yaml")).write_text(content)
    assert command_line.main([f"output_dir={tmp_path}", f"resume={reference}"]) == 2
    assert expected in capsys.readouterr().err
