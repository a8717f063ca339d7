"""The one place that repairs third-party behaviour. Each repair says why, for which versions, and when it
can go.

``apply()`` comes before the first import of an mm* package; a second call does nothing. For every repair
``needed()`` shows the unrepaired behaviour to be still there: a test asks it and fails when a repair can go.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Repair:
    """One repair: name, why it is there, versions it was seen with, what does it, whether it must stay."""

    name: str
    reason: str
    versions: str
    apply: Callable[[], None]
    needed: Callable[[], bool]


_applied: set[str] = set()
_stock: dict[str, Any] = {}


def apply() -> None:
    """Apply every repair once. Imports torch and mmengine, no other mm* package."""
    for repair in REPAIRS:
        if repair.name not in _applied:
            repair.apply()
            _applied.add(repair.name)


def hide_gpus() -> None:
    """Make torch and mmengine see no accelerator. Works only before CUDA is first used in this process."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import mmengine.device.utils as device

    # mmengine decides once, at import.
    device.DEVICE = "cpu"


# --- formatting of configs ----------------------------------------------------------------------------------


def _fast_pretty_text() -> None:
    from mmengine.config import Config

    from trainer.engine.config_text import config_text

    _stock["pretty_text"] = Config.__dict__["pretty_text"]
    Config.pretty_text = property(lambda self: config_text(self.to_dict()))


def _pretty_text_uses_yapf() -> bool:
    return "FormatCode" in inspect.getsource(_stock["pretty_text"].fget)


# --- torchvision --------------------------------------------------------------------------------------------


def _disown_broken_torchvision() -> None:
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except Exception:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        # From here on an import raises ModuleNotFoundError, which everybody guards against.
        sys.modules["torchvision"] = None  # type: ignore[assignment]


def _report_guards_import_errors_only() -> bool:
    from mmengine.utils.dl_utils import collect_env

    module = sys.modules[collect_env.__module__]
    source = inspect.getsource(module).partition("import torchvision")[2]
    return source.partition("except ")[2].startswith(("ModuleNotFoundError", "ImportError"))


class _SimccFinder(importlib.abc.MetaPathFinder):
    """Loads mmpose's simcc_vis with a stand-in for the one name that it takes from torchvision."""

    target = "mmpose.visualization.simcc_vis"

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.target:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            vars(spec.loader)["exec_module"] = _with_to_pil_image(spec.loader.exec_module)
        return spec


def _with_to_pil_image(execute: Callable[[types.ModuleType], None]) -> Callable[[types.ModuleType], None]:
    names = ("torchvision", "torchvision.transforms")

    def exec_module(module: types.ModuleType) -> None:
        try:
            execute(module)
            return
        except (ImportError, RuntimeError, AttributeError):
            before = {name: sys.modules[name] for name in names if name in sys.modules}
        for name in names:
            sys.modules[name] = types.ModuleType(name)
        sys.modules[names[1]].ToPILImage = _ToPILImage  # type: ignore[attr-defined]
        try:
            execute(module)
        finally:
            for name in names:
                del sys.modules[name]
            sys.modules.update(before)

    return exec_module


class _ToPILImage:
    """torchvision's ToPILImage for what simcc_vis hands it: one float map in 0..1 as (H, W) or (1, H, W)."""

    def __call__(self, tensor: Any) -> Any:
        from PIL import Image

        plane = tensor.detach().cpu().float().reshape(tensor.shape[-2:])
        return Image.fromarray(plane.mul(255).byte().numpy(), mode="L")


def _simcc_imports_torchvision() -> bool:
    spec = importlib.util.find_spec("mmpose")
    if spec is None or spec.origin is None:
        return True  # can't tell
    source = os.path.join(os.path.dirname(spec.origin), "visualization", "simcc_vis.py")
    with open(source, encoding="utf-8") as file:
        return "import ToPILImage" in file.read()


# --- classes of mmdet and mmseg -----------------------------------------------------------------------------


class _AfterImport(importlib.abc.MetaPathFinder):
    """Changes a module as it is imported."""

    def __init__(self, target: str, change: Callable[[types.ModuleType], None]) -> None:
        self.target, self.change = target, change

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.target:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            vars(spec.loader)["exec_module"] = _then(spec.loader.exec_module, self.change)
        return spec


def _then(
    execute: Callable[[types.ModuleType], None], change: Callable[[types.ModuleType], None]
) -> Callable[[types.ModuleType], None]:
    def exec_module(module: types.ModuleType) -> None:
        execute(module)
        change(module)

    return exec_module


def _give_loss_cls(module: types.ModuleType) -> None:
    if not hasattr(module.SSDHead, "loss_cls"):
        module.SSDHead.loss_cls = None


def _ssd_lacks_loss_cls() -> bool:
    spec = importlib.util.find_spec("mmdet")
    if spec is None or spec.origin is None:
        return True  # can't tell
    heads = os.path.join(os.path.dirname(spec.origin), "models", "dense_heads")
    with open(os.path.join(heads, "base_dense_head.py"), encoding="utf-8") as file:
        asked = "getattr(self.loss_cls," in file.read()
    with open(os.path.join(heads, "ssd_head.py"), encoding="utf-8") as file:
        return asked and "self.loss_cls =" not in file.read()


def _draw_once(module: types.ModuleType) -> None:
    stock = module.NMF2D._build_bases

    def _build_bases(self: Any, B: int, S: int, D: int, R: int, device: Any = None) -> Any:
        if self.training:
            return stock(self, B, S, D, R, device)
        import torch

        draw = torch.rand((S, D, R), generator=torch.Generator().manual_seed(0)).to(device)
        return torch.nn.functional.normalize(draw, dim=1).repeat(B, 1, 1)

    module.NMF2D._build_bases = _build_bases


def _bases_are_drawn_anew() -> bool:
    spec = importlib.util.find_spec("mmseg")
    if spec is None or spec.origin is None:
        return True  # can't tell
    head = os.path.join(os.path.dirname(spec.origin), "models", "decode_heads", "ham_head.py")
    with open(head, encoding="utf-8") as file:
        return "bases = torch.rand((B * S, D, R))" in file.read()


# --- network ------------------------------------------------------------------------------------------------


def _stop_update_check() -> None:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def _albumentations_checks_for_updates() -> bool:
    spec = importlib.util.find_spec("albumentations")
    if spec is None or spec.origin is None:
        return True  # can't tell
    with open(spec.origin, encoding="utf-8") as file:
        return "NO_ALBUMENTATIONS_UPDATE" in file.read()


# --- checkpoints --------------------------------------------------------------------------------------------


def _load_without_code() -> None:
    import mmengine.runner.checkpoint as checkpoint

    _stock["_safe_torch_load"] = checkpoint._safe_torch_load
    checkpoint._safe_torch_load = _load_tensors_only


def _load_tensors_only(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    from trainer.engine.checkpoint.file import load

    return load(file, map_location)


def _falls_back_to_unpickling() -> bool:
    return "weights_only=False" in inspect.getsource(_stock["_safe_torch_load"])


# --- annotations --------------------------------------------------------------------------------------------


def _map_annotations() -> None:
    from mmengine.dataset import BaseDataset

    from trainer.engine.distributed.shared_annotations import mapping

    _stock["_serialize_data"] = BaseDataset._serialize_data
    BaseDataset._serialize_data = mapping(BaseDataset._serialize_data)


def _annotations_are_each_process_own() -> bool:
    return "np.concatenate(data_list)" in inspect.getsource(_stock["_serialize_data"])


# --- several processes --------------------------------------------------------------------------------------


def _gather_in_memory() -> None:
    import mmengine.evaluator.metric as metric

    from trainer.engine.distributed.collect_results import collect_results

    _stock["collect_results"] = metric.collect_results
    metric.collect_results = collect_results


def _results_meet_in_files() -> bool:
    import mmengine.dist as dist

    return "mkdir_or_exist('.dist_test')" in inspect.getsource(dist.collect_results_cpu)


REPAIRS = (
    Repair(
        "no-update-check",
        "albumentations asks the network for a newer version whenever it is imported",
        "albumentations 1.4.18",
        _stop_update_check,
        _albumentations_checks_for_updates,
    ),
    Repair(
        "broken-torchvision",
        "beside a CPU build of torch, importing a CUDA torchvision raises RuntimeError, and mmengine's "
        "environment report guards against ModuleNotFoundError only: training dies before it starts",
        "onedl-mmengine 0.10.12, torch 2.13.0+cpu",
        _disown_broken_torchvision,
        _report_guards_import_errors_only,
    ),
    Repair(
        "simcc-without-torchvision",
        "mmpose can't be imported without torchvision, although only one drawing routine uses it",
        "mmpose 1.3.2",
        lambda: sys.meta_path.insert(0, _SimccFinder()),
        _simcc_imports_torchvision,
    ),
    Repair(
        "ssd-predicts",
        "SSDHead has no loss_cls, which mmdet's dense heads ask for when they predict: SSD can't be validated",
        "onedl-mmdetection 3.5.1 (and mmdet 3.1 to 3.3)",
        lambda: sys.meta_path.insert(0, _AfterImport("mmdet.models.dense_heads.ssd_head", _give_loss_cls)),
        _ssd_lacks_loss_cls,
    ),
    Repair(
        "same-bases",
        "SegNeXt's head starts from a new random draw at every answer: the same image gets another answer each time",
        "onedl-mmsegmentation 1.4.2",
        lambda: sys.meta_path.insert(0, _AfterImport("mmseg.models.decode_heads.ham_head", _draw_once)),
        _bases_are_drawn_anew,
    ),
    Repair(
        "fast-pretty-text",
        "Config.pretty_text formats with yapf, 0.2 to 0.6 s a call, several times at every start",
        "onedl-mmengine 0.10.12, yapf 0.43.0",
        _fast_pretty_text,
        _pretty_text_uses_yapf,
    ),
    Repair(
        "tensors-only-load",
        "mmengine unpickles a checkpoint that the safe loader refuses, which runs any code that is in it",
        "onedl-mmengine 0.10.12",
        _load_without_code,
        _falls_back_to_unpickling,
    ),
    Repair(
        "annotations-once",
        "every rank keeps the serialised annotations in memory of its own, and spawned workers get copies",
        "onedl-mmengine 0.10.12",
        _map_annotations,
        _annotations_are_each_process_own,
    ),
    Repair(
        "results-in-memory",
        "several processes hand a validation's results over in files of a folder .dist_test that mmengine makes in "
        "the working directory: nobody may write there, or other machines see another one",
        "onedl-mmengine 0.10.12",
        _gather_in_memory,
        _results_meet_in_files,
    ),
)
