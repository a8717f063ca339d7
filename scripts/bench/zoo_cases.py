"""Which models are proven, and what is typed for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SIZE = 64
BATCH = {"pose": 4}  # boxes of a few scenes; 2 images elsewhere


@dataclass(frozen=True)
class Special:
    """What a model needs that the others don't, and why."""

    why: str = ""
    size: int = SIZE
    words: tuple[str, ...] = ()
    iterations: int | None = None
    batch: int | None = None


_QUERIES = "its 900 queries are chosen from as many places, which smaller pictures don't have"
_RESIDUAL = "two iterations: residual branches start at zero and pass nothing back in the first"
_STEP = "more iterations at a low rate: its answers aren't finite before norm statistics have settled"
_MASKS = "one image: a hundred masks take many seconds on a CPU"
_ONE = "runtime.val_batch_size=1"
SPECIAL: dict[str, Special] = {
    "ssd300": Special("its anchors and layers are made for 300 px", size=300, batch=1, iterations=1),
    "dino-r50": Special(_QUERIES, 224, ("augmentation=none", _ONE), 1, 1),
    "dino-swin-l": Special(_QUERIES, 128, ("augmentation=none", _ONE), 1, 1),
    "cascade-mask-rcnn-r50": Special(_MASKS, batch=1, iterations=1),
    "solov2-r50": Special(
        "one image: its grids are as many at any size", words=(_ONE,), batch=1, iterations=1
    ),
    "simplebaseline-r50": Special(_RESIDUAL, iterations=2, batch=2),
    "pidnet-s": Special(_STEP, words=("optimizer.lr=1e-5",), iterations=8),
    "yolox-x": Special(_STEP, words=("optimizer.lr=1e-5",), iterations=4),
    "segnext-t": Special("its decoder draws at random when it answers, too: the same seed before both"),
    "dekr-w32": Special("it answers for one image at a time", words=(_ONE,)),
}

# Regions that a two-stage detector looks at: a hundred take a second on a CPU. The network is the same.
_REGIONS = (
    "mm.model.train_cfg.rpn_proposal.max_per_img=32",
    "mm.model.test_cfg.rpn.max_per_img=32",
    "mm.model.test_cfg.rcnn.max_per_img=8",
)
_SAMPLES = "mm.model.train_cfg.rcnn{}.sampler.num=16"
FEWER: dict[str, tuple[str, ...]] = {
    "faster_rcnn": (*_REGIONS, _SAMPLES.format("")),
    "mask_rcnn": (*_REGIONS, _SAMPLES.format("")),
    "cascade_rcnn": (*_REGIONS, *(_SAMPLES.format(f".{stage}") for stage in range(3))),
}


@dataclass(frozen=True)
class Case:
    """A model to prove: its usual task, its family, and how many iterations it trains."""

    model: str
    task: str
    base: str
    family: str
    iterations: int = 1

    @property
    def special(self) -> Special:
        return SPECIAL.get(self.model, Special())


def cases(names: Iterable[str] = ()) -> list[Case]:
    """All named models, or these.

    One of each family trains two iterations, the others one.
    """
    from trainer.schema.conf_folders import Conf
    from trainer.zoo.model_names import ModelNames

    models = ModelNames(Conf())
    wanted = {models.resolve(name) for name in names}
    found: list[Case] = []
    seen: set[str] = set()
    for model in models.named:
        base = str(models.conf.read("model", model.name)["base"])
        family = base.partition("::")[2].rpartition("/")[0] or base
        task = model.tasks[0]
        usual = 1 if family in seen else 2
        iterations = SPECIAL.get(model.name, Special()).iterations or usual
        found.append(Case(model.name, task, base, family, iterations))
        seen.add(family)
    return [case for case in found if not wanted or case.model in wanted]


def words(case: Case, output: Path) -> list[str]:
    """What would be typed for this proof."""
    special = case.special
    batch = special.batch or BATCH.get(case.task, 2)
    # Two scenes have boxes enough for one batch of a pose model; bottom-up ones count scenes, not boxes.
    few = case.task == "pose" and case.iterations == 1
    scenes = 2 if few else batch * case.iterations
    answers = [] if _ONE in special.words else ["runtime.val_batch_size=2"]
    return [
        f"model={case.model}", f"task={case.task}", "dataset=digits", f"dataset.scenes={scenes}",
        "dataset.val_scenes=2", "dataset.scene_size=64", f"dataset.image_size={special.size}",
        "scheduler=constant", "runtime.epochs=1", f"runtime.batch_size={batch}", *answers,
        "runtime.workers=0", "runtime.device=cpu", "runtime.log_interval=1", "tracking=none",
        f"output_dir={output}", *FEWER.get(case.family, ()), *special.words,
    ]  # fmt: skip
