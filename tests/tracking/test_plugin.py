"""A tracker that an installed package brings: beside a training, and by ``replay``."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.core.errors import ConfigError
from trainer.schema import Tracking
from trainer.tracking import start_sink, tracker_class, tracker_names

ROOT = Path(__file__).parents[2]
MODULE = '''
import csv

from trainer.tracking.tracker import Tracker


class CsvTracker(Tracker):
    """One line a validation; rewritten with every new one, so that an event told twice changes nothing."""

    name = "mine"

    def tell(self, events):
        path = self.run.dir / "mine.csv"
        rows = dict(csv.reader(path.open())) if path.exists() else {}
        rows |= {event["epoch"]: event["metrics"]["mAP50"] for event in events if event["type"] == "validation"}
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(sorted(rows.items(), key=lambda row: int(row[0])))

    @property
    def summary(self):
        return f"{self.run.dir / 'mine.csv'} is current"


class NoTracker:
    pass
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with an installed package that brings the tracker ``mine``."""
    folder = tmp_path / "site"
    (folder / "x-1.dist-info").mkdir(parents=True)
    (folder / "x-1.dist-info" / "entry_points.txt").write_text(
        "[trainer.trackers]\nmine = x_tracker:CsvTracker\nwrong = x_tracker:NoTracker\n"
    )
    (folder / "x_tracker.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def rows(run) -> list[list[str]]:
    with (run.dir / "mine.csv").open() as file:
        return list(csv.reader(file))


def test_it_follows_a_training(plugin, make_run, log):
    run = make_run(None, "plugin", [log.started(), *log.epoch(1)])
    handle = start_sink(run, Tracking(name="mine"), "runs")
    log.append(run.dir, [*log.epoch(2), {"type": "finished"}])
    assert handle.wait(30) and list(handle.processes) == ["mine"] and handle.facts == {}
    assert rows(run) == [["1", "0.2"], ["2", "0.4"]]


def test_replay_offers_it(plugin, make_run):
    run = make_run(None, "plugin")
    command = [sys.executable, "-m", "trainer", "replay", str(run.dir)]

    def replay(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)

    for _ in range(2):  # the second time nothing changes
        done = replay("sink=mine")
        assert (done.returncode, done.stdout) == (0, f"{run.dir / 'mine.csv'} is current\n"), done.stderr
        assert rows(run) == [["1", "0.2"], ["2", "0.4"], ["3", "0.6"]]
    assert "sink=mine takes no uri" in replay("sink=mine", "uri=http://x").stderr
    assert "Did you mean 'mine'" in replay("sink=mien").stderr


def test_what_is_no_tracker_is_refused(plugin):
    with pytest.raises(
        ConfigError, match=r"wrong: the plug-in x names x_tracker:NoTracker, which is no subclass"
    ):
        tracker_class("wrong")
    with pytest.raises(
        ConfigError, match=r"there is no 'mein' among trainer\.trackers\. Did you mean 'mine'"
    ):
        tracker_class("mein")


def test_which_trackers_run():
    assert tracker_names(Tracking(name="none")) == []
    assert tracker_names(Tracking(name="none", tensorboard=True)) == ["tensorboard"]
    assert tracker_names(Tracking(name="mlflow", tensorboard=True)) == ["mlflow", "tensorboard"]
    assert tracker_names(Tracking(name="tensorboard", tensorboard=True)) == ["tensorboard"]
