"""export writes files that were proven, or nothing."""

import json

import pytest

from trainer.cli.command_line import main
from trainer.schema import METRICS


@pytest.mark.slow
@pytest.mark.parametrize("task", tuple(METRICS))
def test_proven_files(trained_run, tmp_path, task, capsys):
    folder = trained_run(task)
    words = [f"checkpoint={folder}", f"output={tmp_path}", "format=onnx,torchscript", "compile_seconds=0"]
    assert main(["export", *words]) == 0
    said = capsys.readouterr()
    assert said.out.count("written to") == 2 and "Traceback" not in said.err
    for kind, module in (("onnx", "onnxruntime"), ("torchscript", "torch")):
        proof = json.loads((tmp_path / kind / "proof.json").read_text())
        assert proof["holds"] and proof["compared"] == 8 and proof["modules"] == [module]
        assert proof["agreement"]["expected"] > 0 and proof["agreement"]["share"] >= 0.99
        metric = proof["metric"]
        result = json.loads((folder / "result.json").read_text())
        if task != "pose":  # which is validated with a second look at the mirrored image
            best = result["primary_metric"]
            assert metric["name"] == best["name"] and metric["checkpoint"] == pytest.approx(
                best["value"], abs=1e-3
            )
        metadata = json.loads((tmp_path / kind / "metadata.json").read_text())
        assert metadata["run_id"] == folder.name and metadata["fingerprint"] and metadata["task"] == task
        assert (tmp_path / kind / f"export_{folder.name}-{kind}.zip").is_file()
        if task == "pose":
            assert metadata["keypoint_names"] == ["top", "right", "bottom", "left"] and metadata["skeleton"]


@pytest.mark.slow
def test_a_proof_that_fails_leaves_nothing(trained_run, tmp_path, capsys):
    words = [f"checkpoint={trained_run('pose')}", f"output={tmp_path / 'out'}", "tolerance=1e-12"]
    assert main(["export", *words]) == 1
    assert "the answers of the exported onnx file differ from PyTorch's" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_mistakes_are_one_line(tmp_path, capsys):
    wrong = (
        ([], 2),
        (["checkpoint=nothing"], 2),
        (["checkpoint=a.pth"], 1),
        (["checkpoint=latest", "format=onx"], 2),
        (["checkpoint=latest", "opset=12"], 2),
        (["checkpoint=latest", "int8=true", "half=true"], 2),
        (["checkpoint=latest", "format=torchscript", "int8=true"], 2),
    )
    for words, code in wrong:
        assert main(["export", f"output_dir={tmp_path}", *words]) == code, words
        assert capsys.readouterr().err.count("\n") == 1
