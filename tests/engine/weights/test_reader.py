"""Reading files that aren't trusted."""

from __future__ import annotations

import argparse
import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from trainer.core.errors import CheckpointError
from trainer.engine.weights.safe_reader import read


class Runs:
    """What a malicious file does when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize(
    ("function", "named"), [(os.system, "system"), (eval, "eval"), (exec, "exec"), (__import__, "__import__")]
)
def test_a_malicious_file_is_refused_and_its_code_not_run(form, function, named, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "file.pth"
    line = {"system": f"touch {trace}", "__import__": "this"}.get(named, f"open({str(trace)!r}, 'w')")
    content = {"state_dict": {"weight": torch.ones(2)}, "meta": {"config": Runs(function, line)}}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert not trace.exists()
    if form != "pickle":
        assert named in str(caught.value) and "model.trust_weights=true" in str(caught.value)


def test_the_same_file_runs_when_it_is_trusted(tmp_path):
    """That the files above are really dangerous."""
    trace, path = tmp_path / "trace", tmp_path / "file.pth"
    torch.save({"state_dict": {}, "meta": Runs(os.system, f"touch {trace}")}, path)
    read(path, trust=True)
    assert trace.exists()


def test_what_published_files_hold_is_read(tmp_path):
    hub = MessageHub.get_instance("published")
    hub.update_scalar("train/loss", 1.5)
    hub.update_info("best", np.float64(0.4))
    kinds = ("float16", "float32", "float64", "int8", "int64", "uint8", "uint32", "bool")
    meta = {
        "dataset_meta": {"sigmas": np.array([0.1, 0.2], dtype=np.float32), "names": np.array(["a", "bc"])},
        "arrays": [np.ones((2, 3), dtype=kind) for kind in kinds],
        "best": np.float32(0.5),
        "hooks": collections.defaultdict(list, {"a": [1]}),
        "args": argparse.Namespace(lr=0.1),
        "more": collections.OrderedDict(a=slice(1, 2), b={1, 2}, c=frozenset),
    }
    meta["more"].pop("c")
    path = tmp_path / "file.pth"
    torch.save({"meta": meta, "state_dict": {"weight": torch.ones(2)}, "message_hub": hub.state_dict()}, path)
    content = read(path)
    assert content["meta"]["dataset_meta"]["sigmas"].tolist() == pytest.approx([0.1, 0.2])
    assert content["meta"]["dataset_meta"]["names"].tolist() == ["a", "bc"]
    assert [array.dtype.name for array in content["meta"]["arrays"]] == list(kinds)
    assert content["meta"]["best"] == np.float32(0.5) and content["meta"]["hooks"] == {"a": [1]}
    assert torch.equal(content["state_dict"]["weight"], torch.ones(2))


def test_a_log_in_a_file_cannot_change_mmengine_s(tmp_path):
    """HistoryBuffer takes functions from a pickle and calls them by name later."""
    buffer = HistoryBuffer([1.0], [1])
    vars(buffer)["_statistics_methods"] = {"mean": HistoryBuffer.max}
    torch.save({"state_dict": {}, "log": buffer}, tmp_path / "file.pth")
    before = dict(HistoryBuffer._statistics_methods)
    assert not isinstance(read(tmp_path / "file.pth")["log"], HistoryBuffer)
    assert HistoryBuffer._statistics_methods == before


def test_numpy_1_wrote_other_names(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"state_dict": {}, "array": np.ones(3)}, path, _use_new_zipfile_serialization=False)
    renamed = path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert renamed != path.read_bytes()
    path.write_bytes(renamed)
    assert read(path)["array"].tolist() == [1.0, 1.0, 1.0]


def test_damaged_files(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"state_dict": {"weight": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-200])
    for content in (path.read_bytes(), b"", b"<html>not found</html>"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"file\.pth can't be read as a checkpoint") as caught:
            read(path)
        assert "trust" not in str(caught.value)
    with pytest.raises(CheckpointError, match="there is no file"):
        read(Path("nowhere.pth"))
