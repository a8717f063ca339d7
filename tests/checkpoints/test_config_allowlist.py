"""Plain data that would make mmengine import, fetch or unpickle something is refused."""

import pytest

from trainer.checkpoints.config_allowlist import check_config
from trainer.core.errors import CheckpointError

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
        ("custom_imports", {"imports": ["evil.module"]}, "evil.module"),
        ("custom_imports", "antigravity", "antigravity"),
        ("default_scope", "evil", "evil"),
    ],
)
def test_others_are_refused_by_name(section, value, told):
    with pytest.raises(CheckpointError, match=told.replace(".", r"\.")):
        check_config({**GOOD, section: value})
