"""What is told of a sweep by its folder: while it runs, when it is over, in a terminal, as JSON and in MLflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sweep.drivers import Drivers, wait_for
from tests.sweep.made_up import made_up
from tests.sweep.test_main import LR
from trainer.cli import command_line
from trainer.core.errors import ConfigError
from trainer.sweep.report.mlflow_log import log_sweep
from trainer.sweep.report.results import SweepResults, find_sweep, read_results

WORDS = (LR, "optimizer=sgd,adamw", "sweep=optuna", "sweep.n_trials=5", "sweep.sampler=random", "name=toy")


@pytest.fixture(scope="module")
def output(drivers: Drivers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A sweep that is over."""
    folder = tmp_path_factory.mktemp("over") / "runs"
    driver = drivers.run(folder, *WORDS)
    assert driver.poll() == 0, driver.output
    yield folder


@pytest.fixture
def results(output: Path) -> SweepResults:
    return read_results(find_sweep(None, output))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = command_line.main(["sweep", *words])
    out, err = capsys.readouterr()
    return code, out + err


def test_a_sweep_is_found_by_folder_name_and_beginning(output: Path, results: SweepResults) -> None:
    folder = results.folder.dir
    for ref in (str(folder), str(folder / "best.yaml"), folder.name, folder.name[:6]):
        assert find_sweep(ref, output).dir == folder
    with pytest.raises(ConfigError, match="no sweep 'tox' in .* Did you mean|There are: toy-"):
        find_sweep("tox", output)
    shutil.copytree(folder, folder.with_name(f"{folder.name}-2"))
    try:
        assert find_sweep(folder.name, output).dir == folder
        with pytest.raises(ConfigError, match="could be any of"):
            find_sweep("toy", output)
    finally:
        shutil.rmtree(folder.with_name(f"{folder.name}-2"))


def test_the_store_and_its_view_say_the_same(results: SweepResults) -> None:
    assert results.over and results.counted == 5 and results.note is None
    plain = [json.loads(json.dumps(row)) for row in results.rows]
    assert plain == results.folder.read_trials()
    assert [row["state"] for row in results.best] == ["complete"]
    best = max(row["values"]["mAP50-95"] for row in results.rows)
    assert results.best[0]["values"]["mAP50-95"] == best


def test_without_its_store_the_view_is_read(results: SweepResults, tmp_path: Path) -> None:
    copy = tmp_path / "sweeps" / results.folder.id
    shutil.copytree(results.folder.dir, copy)
    (copy / "journal.log").unlink()
    found = read_results(find_sweep(str(copy), tmp_path))
    assert found.rows == results.rows
    assert found.note is not None and "journal.log isn't there" in found.note


def test_status_of_one_that_is_over(
    output: Path, results: SweepResults, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = said(capsys, "status", f"output_dir={output}")
    assert code == 0 and "5 of 5 (5 complete)" in text
    code, text = said(capsys, "status", str(results.folder.dir), "--json")
    told = json.loads(text)
    assert (told["counted"], told["n_trials"], told["over"]) == (5, 5, True)
    assert told["trials"] == {"complete": 5} and told["running"] == []
    assert told["best"][0]["number"] == results.best[0]["number"]


def test_best_says_how_to_repeat_it(
    output: Path, results: SweepResults, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = said(capsys, "best", f"output_dir={output}")
    assert code == 0
    recipe = results.folder.dir / "best.yaml"
    assert f"python -m trainer experiment={recipe}" in text.replace("\n", "")
    content = yaml.safe_load(recipe.read_text())
    best = results.best[0]["params"]
    assert content["optimizer"]["lr"] == best["optimizer.lr"]
    assert {"override /optimizer": best["optimizer"]} in content["defaults"]
    code, text = said(capsys, "best", results.folder.id, f"output_dir={output}", "json=true")
    assert json.loads(text)["best"][0]["params"] == best


def test_status_while_it_runs(
    drivers: Drivers, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    driver = drivers.start(tmp_path, *WORDS, "sweep.workers=2", TOY_GATE=str(gate))
    try:
        wait_for(lambda: len(list(tmp_path.glob("toy/*/epochs-done"))) == 2, driver)

        def both_begun() -> dict[str, Any] | None:
            code, text = said(capsys, "status", f"output_dir={tmp_path}", "--json")
            told: dict[str, Any] = json.loads(text)
            assert code == 0
            begun = [one["epoch"] for one in told["running"]]
            return told if begun == [2, 2] else None

        told = wait_for(both_begun, driver)
        assert told["counted"] == 0 and not told["over"] and told["best"] == []
        assert [one["epochs"] for one in told["running"]] == [3, 3]
        assert all(one["value"] is not None and one["run_dir"] for one in told["running"])
        code, text = said(capsys, "status", f"output_dir={tmp_path}")
        assert "0 of 5 (2 running)" in text and "2/3" in text
        code, text = said(capsys, "best", f"output_dir={tmp_path}")
        assert (code, text) == (1, "no trial is complete yet\n")
    finally:
        gate.touch()
        assert driver.wait() == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stats"], "'stats' is none of its commands. Did you mean 'status'?"),
        (["best", "one", "two"], "sweep best takes one sweep, got one two"),
        (["status"], "there are no sweeps in"),
        (["status", "nowhere"], "no sweep 'nowhere' in"),
        (["plot", "stroage=x"], "Did you mean 'storage'?"),
    ],
)
def test_mistakes(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, *words, f"output_dir={tmp_path}")
    assert code == 2 and message in text and "Traceback" not in text


def test_a_password_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_up(tmp_path / "runs" / "sweeps" / "mine", trials=4)
    code, text = said(capsys, "status", str(folder.dir))
    assert code == 0 and "without its password; give storage=<URL>" in " ".join(text.split())
    code, text = said(capsys, "status", str(folder.dir), f"storage=sqlite:///{tmp_path}/other.db")
    assert code == 2 and "sweep mine isn't in sqlite:" in text


def test_mlflow_is_told_all_of_it_and_twice_changes_nothing(
    results: SweepResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for row in results.rows:
        config = {
            "tracking": {"name": "mlflow", "uri": uri},
            "optimizer": {"lr": row["params"]["optimizer.lr"]},
        }
        Path(row["run_dir"], "config.yaml").write_text(yaml.safe_dump(config))
    before: tuple[Any, ...] = ()
    for again in (False, True):
        if again:
            told, error = log_sweep(results, [results.folder.dir / "best.yaml"], uri)
            assert told and error is None
        else:
            code, text = said(capsys, "plot", str(results.folder.dir), f"uri={uri}")
            assert code == 0, text
        client = MlflowClient(tracking_uri=uri)
        (experiment,) = [one for one in client.search_experiments() if one.name == "toy"]
        runs = client.search_runs([experiment.experiment_id])
        (parent,) = [run for run in runs if run.data.tags.get("kind") == "sweep"]
        trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        history = client.get_metric_history(parent.info.run_id, "trial/mAP50-95")
        now = (len(runs), len(history), parent.data.metrics, parent.data.params)
        assert before in ((), now)
        before = now
    best = results.best[0]
    assert len(trials) == len(history) == 5
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["mAP50-95"] == best["values"]["mAP50-95"]
    assert parent.data.params["sweep.optimizer.lr"] == str(best["params"]["optimizer.lr"])
    assert parent.data.tags["sweep.best_trial"] == str(best["number"])
    by_number = {run.data.tags["sweep.trial"]: run for run in trials}
    for row in results.rows:
        run = by_number[str(row["number"])]
        assert (
            run.data.tags["sweep.optimizer"]
            == run.data.params["sweep.optimizer"]
            == row["params"]["optimizer"]
        )
        assert run.data.tags["sweep.best"] == ("true" if row is best else "false")
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert files == {"best.yaml", "sweep.html", "sweep.json", "trials.jsonl", "plots"}
    plots = {file.path for file in client.list_artifacts(parent.info.run_id, "plots")}
    assert {"plots/history.png", "plots/slices.png", "plots/parallel.png"} <= plots


def test_one_that_is_tracked_nowhere_says_so(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_up(tmp_path / "runs" / "sweeps" / "mine", trials=4, store="journal.log")
    code, text = said(capsys, "plot", str(folder.dir), "--upload")
    assert code == 1 and "NetworkError: no trial of this sweep is in MLflow" in text
    assert (folder.dir / "sweep.html").is_file()


def test_an_outage_is_told_with_the_command_that_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.sweep.report import mlflow_log
    from trainer.tracking.mlflow_state import MlflowState

    monkeypatch.setattr(mlflow_log, "PAUSE", 0.0)
    copy = made_up(tmp_path / "runs" / "sweeps" / "mine", trials=2, store="journal.log")
    run = tmp_path / "runs" / "toy" / "mine-1"
    state = MlflowState(uri="http://127.0.0.1:9", experiment="toy", run_name="x", mlflow_run_id="0" * 32)
    state.save(run / "sinks" / "mlflow.json")
    copy.write_trials([{**row, "run_dir": str(run)} for row in copy.read_trials()])
    told, error = mlflow_log.log_sweep(read_results(copy), [])
    assert told is None and error is not None
    assert error.startswith("MLflow at http://127.0.0.1:9 doesn't have all of the sweep (")
    assert error.endswith(f"python -m trainer sweep plot {copy.dir} --upload")


def test_a_plain_grid_is_told_of_alike(
    drivers: Drivers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = drivers.run(tmp_path, "runtime.seed=1,2", "optimizer=sgd,adamw", TOY_TROUBLE='{"fail": [2]}')
    assert driver.poll() == 1, driver.output
    code, text = said(capsys, "status", f"output_dir={tmp_path}", "--json")
    assert code == 0 and json.loads(text)["trials"] == {"complete": 2, "failed": 2}
    code, text = said(capsys, "status", f"output_dir={tmp_path}")
    assert "the toy of seed 2 broke" in text and "2 of 4 (2 complete, 2 failed)" in text
    code, text = said(capsys, "plot", f"output_dir={tmp_path}")
    assert code == 0 and "plots/history.png" in text and "sweep.html" in text and "best.yaml" in text
