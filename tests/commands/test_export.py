"""export writes a file that was proven, or nothing."""

import json

import numpy as np
import onnxruntime
import pytest

from trainer.cli import main
from trainer.config.schema import METRICS

OUTPUTS = {"detection": 6, "instance_segmentation": 10, "semantic_segmentation": 1, "pose": 2}


@pytest.mark.slow
@pytest.mark.parametrize("task", tuple(METRICS))
def test_a_proven_file(trained_run, tmp_path, task, capsys):
    folder = trained_run(task)
    assert main(["export", f"checkpoint={folder}", f"output={tmp_path}"]) == 0
    model = json.loads((folder / "result.json").read_text())["model"]
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(
        [f"{model}.onnx", "metadata.json", "proof.json"]
    )
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert proof["holds"] and proof["images"] == 8 and proof["batches"] == [1, 8]
    assert all(one["magnitude"] > 0 and one["relative"] <= 1e-3 for one in proof["differences"])
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    assert len(metadata["outputs"]) == len(proof["differences"]) == OUTPUTS[task]
    assert (
        metadata["dynamic_batch"] and metadata["input_size"] == [96, 96] and metadata["run_id"] == folder.name
    )
    session = onnxruntime.InferenceSession(str(tmp_path / f"{model}.onnx"))
    inside = session.get_modelmeta().custom_metadata_map
    assert json.loads(inside["classes"]) == metadata["classes"] and inside["task"] == task
    answers = session.run(None, {metadata["input"]: np.zeros((3, 3, 96, 96), np.float32)})
    assert all(len(answer) == 3 for answer in answers)
    assert "NMS" in capsys.readouterr().out


@pytest.mark.slow
def test_a_proof_that_fails_leaves_nothing(trained_run, tmp_path, capsys):
    words = [f"checkpoint={trained_run('pose')}", f"output={tmp_path / 'out'}", "tolerance=1e-12"]
    assert main(["export", *words]) == 1
    assert "answers otherwise than PyTorch" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_mistakes_are_one_line(tmp_path, capsys):
    for words, code in (([], 2), (["checkpoint=nothing"], 2), (["checkpoint=a.pth"], 1)):
        assert main(["export", f"output_dir={tmp_path}", *words]) == code
        assert capsys.readouterr().err.count("\n") == 1
