"""Plain data that would make mmengine import, fetch or unpickle something is refused."""

import json
import sys

import pytest

from trainer.checkpoints.checkpoint_modules import import_trusted
from trainer.checkpoints.config_allowlist import check_config
from trainer.checkpoints.resolve_checkpoint import ResolvedCheckpoint
from trainer.core import plugins
from trainer.core.errors import CheckpointError, ConfigError
from trainer.core.user_modules import missing_part
from trainer.runs.run import Run

GOOD = {
    "default_scope": "mmengine",
    "model": {
        "type": "BaseModel",
        "act": {"type": "torch.nn.ReLU"},
        "sampler": {"type": "mmengine.dataset.DefaultSampler"},
    },
    "val_dataloader": {"dataset": {"type": "CocoDataset", "ann_file": "annotations/val.json"}},
    "custom_imports": {"imports": ["trainer.engine.registered"]},
}


def test_parts_of_the_packages_pass():
    check_config(GOOD)


@pytest.mark.parametrize(
    ("section", "value", "told"),
    [
        ("model", {"type": "os.system", "command": "true"}, "os.system"),
        ("model", {"deep": [{"type": "subprocess.Popen"}]}, "subprocess.Popen"),
        ("model", {"type": "FrozenBackbone", "of": "subprocess.Popen"}, "subprocess.Popen"),
        ("model", {"type": "torch.hub.load"}, "torch.hub.load"),
        ("model", {"type": "torch.load", "f": "x"}, "torch.load"),
        ("model", {"type": "mmengine.load", "file": "x.pkl"}, "mmengine.load"),
        ("model", {"type": "mmengine.fileio.load", "file": "x"}, "mmengine.fileio.load"),
        ("model", {"type": "X", "_scope_": "evil"}, "evil"),
        (
            "val_dataloader",
            {"dataset": {"type": "BaseDataset", "ann_file": "http://host/x.json"}},
            "http://host",
        ),
        ("val_dataloader", {"dataset": {"type": "BaseDataset", "ann_file": "x.PKL"}}, "x.PKL"),
        ("model", {"type": "evil_parts.Popen"}, "evil_parts.Popen"),
        ("default_scope", "evil", "evil"),
    ],
)
def test_others_are_refused_by_name(section, value, told):
    with pytest.raises(CheckpointError, match=told.replace(".", r"\.")):
        check_config({**GOOD, section: value})


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A module that a checkpoint's config names; whether it was imported is seen in ``sys.modules``."""
    (tmp_path / "evil_parts.py").write_text(
        "import subprocess\nfrom subprocess import Popen\nfrom torch import nn\n\nclass Part(nn.Module):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "evil_parts"
    sys.modules.pop("evil_parts", None)


@pytest.mark.parametrize("custom", [{"imports": ["evil_parts"]}, {"imports": "evil_parts"}, "evil_parts"])
def test_a_foreign_checkpoint_imports_nothing(tmp_path, evil, custom):
    config = {**GOOD, "custom_imports": custom}
    checkpoint = ResolvedCheckpoint(tmp_path / "model.pth", None)
    assert import_trusted(config, checkpoint) == []
    check_config(config)  # a module that nothing in it needs doesn't matter
    assert evil not in sys.modules
    unknown = KeyError("'Part is not in the mmdet::model registry. Please check'")
    assert "imports=[evil_parts]" in missing_part(unknown)
    with pytest.raises(CheckpointError, match=r"evil_parts\.Part"):
        check_config({**config, "model": {"type": "evil_parts.Part"}})
    assert evil not in sys.modules


def test_a_checkpoint_that_was_fetched_imports_nothing_that_its_run_names(tmp_path, evil):
    run = Run.create(tmp_path / "runs", "a", "b")
    run.update(imports=[evil])
    fetched = ResolvedCheckpoint(run.checkpoints / "best.pth", run, home=tmp_path)
    assert import_trusted({**GOOD, "custom_imports": [evil]}, fetched) == []
    assert evil not in sys.modules


@pytest.mark.parametrize("trusted_by", ["user", "run", "plug-in"])
def test_trusted_modules_are_imported_and_their_parts_pass(tmp_path, monkeypatch, evil, trusted_by):
    run = Run.create(tmp_path / "runs", "a", "b") if trusted_by == "run" else None
    if run:
        run.update(imports=[evil])
    if trusted_by == "plug-in":
        monkeypatch.setattr(plugins, "modules", lambda: [evil])
    named = [evil] if trusted_by == "user" else []
    config = {**GOOD, "model": {"type": "evil_parts.Part"}, "custom_imports": [evil]}
    modules = import_trusted(config, ResolvedCheckpoint(tmp_path / "model.pth", run), named)
    assert modules == [evil] and evil in sys.modules
    check_config(config, modules)
    for name in ("evil_parts.Popen", "evil_parts.subprocess.Popen", "evil_parts.nothing"):
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            check_config({**config, "model": {"type": name}}, modules)


def test_a_missing_module_stops_only_whoever_named_it(tmp_path):
    run = Run.create(tmp_path / "runs", "a", "b")
    run.update(imports=["lost_hooks"])
    checkpoint = ResolvedCheckpoint(run.checkpoints / "best.pth", run)
    assert import_trusted(GOOD, checkpoint) == []
    with pytest.raises(ConfigError, match=r"imports: the module 'lost_hooks' can't be imported .*PYTHONPATH"):
        import_trusted(GOOD, checkpoint, ["lost_hooks"])


def test_a_run_directory_whose_record_is_no_list_imports_nothing(tmp_path, evil):
    run = Run.create(tmp_path / "runs", "a", "b")
    (run.dir / "run.json").write_text(json.dumps({**run.facts, "imports": evil}))
    assert import_trusted(GOOD, ResolvedCheckpoint(run.checkpoints / "best.pth", run)) == []
    assert evil not in sys.modules
