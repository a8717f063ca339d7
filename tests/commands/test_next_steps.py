"""What is printed after a run can be typed where it is printed."""

import sys
from pathlib import Path

from trainer.commands.next_steps import next_steps
from trainer.core.cli_text import program, short
from trainer.runs.run import Run
from trainer.schema import Experiment


def steps(tmp_path, **tracking):
    exp = Experiment()
    exp.output_dir = str(tmp_path / "runs")
    for key, value in tracking.items():
        setattr(exp.tracking, key, value)
    return dict(next_steps(exp, Run.create(exp.output_dir, "here", "toy")))


def test_commands_name_the_run_and_the_tracker_s_database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = steps(tmp_path)
    assert shown["compare runs"].endswith("ui --backend-store-uri sqlite:///runs/mlflow.db")
    assert "predict checkpoint=runs/here/toy-" in shown["predictions"]
    assert "compare runs" not in steps(tmp_path, name="none")


def test_python_is_named_by_its_path_where_it_is_not_activated(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == f"{short(Path(sys.executable))} -m trainer"
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert program("trainer.tracking") == "python -m trainer.tracking"
