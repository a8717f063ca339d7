"""The formats that data sets come in, by the name that ``dataset.format`` takes."""

from __future__ import annotations

from typing import cast

from trainer.data.formats import coco, dice, labelme, masks, voc, yolo
from trainer.data.formats.data_format import Format

FORMATS: dict[str, Format] = {
    name: cast(Format, module)
    for name, module in {
        "dice": dice, "coco": coco, "yolo": yolo, "voc": voc, "labelme": labelme, "masks": masks,
    }.items()
}  # fmt: skip
