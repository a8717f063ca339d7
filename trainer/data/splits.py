"""Which pictures train, validate and test: what the data set says, else a draw that its order can't change."""

from __future__ import annotations

import hashlib
from typing import Any

from trainer.data.document import SPLITS
from trainer.data.records import Picture, Problems, Records, SplitRule


def declared(raw: dict[str, Any], pictures: list[Picture], rule: SplitRule, problems: Problems) -> SplitRule:
    """Apply a file's ``split_config`` / ``splits`` to pictures without a ``split`` of their own; the rule for the rest.

    Ids are compared as text. ``splits`` may also hold counts, which assign nothing.
    """
    given = raw.get("split_config")
    config: dict[str, Any] = given if isinstance(given, dict) else {}
    named: dict[str, str] = {}
    for table in (raw.get("splits"), config.get("splits")):
        for key, value in table.items() if isinstance(table, dict) else ():
            if isinstance(value, str) and value.lower() in SPLITS:
                named[str(key)] = SPLITS[value.lower()]
            elif isinstance(value, str):
                problems.error("split_config: split must be train, val or test", f"image {key}: {value!r}")
    for picture in pictures:
        if picture.split is None:
            picture.split = named.get(picture.key)
    share = _val_share(config)
    seed = config.get("seed")
    return SplitRule(
        share=rule.share if share is None else share,
        seed=seed if isinstance(seed, int) else rule.seed,
        rest="train" if config.get("method", "manual") in ("manual", "use_dataset", "custom") else "draw",
    )


def assign(records: Records, problems: Problems) -> dict[str, list[Picture]]:
    """``{"train", "val", ["test"]}``: every picture once, except that a single picture both trains and validates."""
    rule, pictures = records.rule, records.pictures
    free = [picture for picture in pictures if picture.split is None]
    drawn = not pictures or len(free) == len(pictures)
    if free and (drawn or rule.rest == "draw"):
        _draw(free, rule)
        problems.note(_drawn_text(free, rule))
    elif free:
        for picture in free:
            picture.split = "train"
        problems.note("images without a split put into train", *_first(free))
    splits = {name: [p for p in pictures if p.split == name] for name in ("train", "val", "test")}
    if not splits["val"] and len(splits["train"]) > 1:
        _draw(splits["train"], rule)
        problems.note(
            "no image was assigned to val, so some of train's are: " + _drawn_text(splits["train"], rule)
        )
        splits = {name: [p for p in pictures if p.split == name] for name in ("train", "val", "test")}
    elif not splits["val"] and splits["train"]:
        splits["val"] = splits["train"]
        problems.note("there is one training image only; it is validated on too")
    if pictures and not splits["train"]:
        problems.error(
            "no image is assigned to train; check split, split_config or splits in the annotation file"
        )
    if not splits["test"]:
        del splits["test"]
    return splits


def _draw(pictures: list[Picture], rule: SplitRule) -> None:
    """The share with the smallest hash of seed and id validates: at least one, never all, whatever their order."""
    ranked = sorted(
        pictures, key=lambda p: (hashlib.sha256(f"{rule.seed}/{p.key}/{p.name}".encode()).digest(), p.key)
    )
    count = min(max(1, round(rule.share * len(ranked))), len(ranked) - 1)
    for i, picture in enumerate(ranked):
        picture.split = "val" if i < count else "train"


def _drawn_text(pictures: list[Picture], rule: SplitRule) -> str:
    val = sum(picture.split == "val" for picture in pictures)
    return f"split drawn with seed {rule.seed}: {len(pictures) - val} train, {val} val"


def _first(pictures: list[Picture]) -> list[str]:
    return [f"{len(pictures)}, first {pictures[0].name}"]


def _val_share(config: dict[str, Any]) -> float | None:
    """The validation share in any of the forms in use; a bare number is the training share."""
    ratio = config.get("default_ratio", config.get("ratio"))
    train, val = config.get("train_ratio"), config.get("val_ratio")
    if isinstance(ratio, dict):
        train, val = ratio.get("train", train), ratio.get("val", val)
    elif isinstance(ratio, list) and len(ratio) >= 2:
        train, val = ratio[:2]
    elif isinstance(ratio, (int, float)):
        train = ratio
    share = val if isinstance(val, (int, float)) else 1 - train if isinstance(train, (int, float)) else None
    return float(share) if share is not None and 0 < share < 1 else None
