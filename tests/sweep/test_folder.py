"""A sweep's name and what is written in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.core.errors import ConfigError
from trainer.sweep.folder import SweepFolder, generations, newest, sweep_name
from trainer.sweep.stores.study_setup import _has_runs

WORDS = ["optimizer.lr=interval(1e-4,1e-1)", "model=rtmdet-s"]


def name(words: list[str], command: str = "train", study: str | None = None) -> str:
    return sweep_name(command, words, "digits-detection", study)


def test_the_name_follows_from_what_is_searched() -> None:
    first = name(WORDS)
    assert first.startswith("digits-detection-") and len(first) == len("digits-detection-") + 8
    for same in (
        [*WORDS, "sweep.n_trials=50", "sweep.workers=3", "sweep.fresh=true", "output_dir=elsewhere"],
        list(reversed(WORDS)),
        ["model=rtmdet-m", *WORDS],  # the later one wins
        [*WORDS, "sweep.storage=postgresql://me:old@host/db"],
    ):
        assert name(same) == first
    for other in ([*WORDS, "runtime.epochs=3"], [WORDS[0]], [*WORDS, "sweep.sampler=gp"]):
        assert name(other) != first
    assert name(WORDS, "evaluate") != first
    assert name(WORDS, study="mine") == "mine"
    with pytest.raises(ConfigError, match="such as a-b"):
        name(WORDS, study="a/b")


def test_the_newest_generation_is_gone_on_with() -> None:
    names = ["mine", "mine-2", "mine-10", "mine-other", "other-11"]
    assert newest("mine", names, fresh=False) == "mine-10"
    assert newest("mine", names, fresh=True) == "mine-11"
    assert newest("new", names, fresh=False) == newest("new", names, fresh=True) == "new"
    assert newest("mine", ["mine"], fresh=True) == "mine-2"


def test_runs_of_a_folder_that_was_deleted_are_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "exp" / "mine-0").mkdir(parents=True)
    (tmp_path / "exp" / "yours-2-0").mkdir()
    assert _has_runs(tmp_path, "mine") and not _has_runs(tmp_path, "yours") and _has_runs(tmp_path, "yours-2")


def test_files(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweeps" / "mine")
    assert folder.about() == {} and folder.read_trials() == [] and generations(tmp_path) == []
    folder.describe({"id": "mine", "path": Path("x")})
    folder.write_trials([{"number": 0, "label": "größer"}, {"number": 1}])
    assert folder.about() == {"id": "mine", "path": "x"}
    assert folder.read_trials() == [{"number": 0, "label": "größer"}, {"number": 1}]
    assert generations(tmp_path) == ["mine"] and folder.run_id(7) == "mine-7"
    folder.description.write_text("{")
    with pytest.raises(ConfigError, match="sweep.json can't be read"):
        folder.about()
