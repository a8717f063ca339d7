"""A contact sheet: what a model says beside what is true."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from trainer.predictions.draw import font

_GAP, _HEAD, _LINE, _INK, _PAPER = 12, 34, 26, (40, 40, 40), (255, 255, 255)


def contact_sheet(
    rows: Sequence[tuple[np.ndarray, np.ndarray | None]],
    columns: int = 2,
    cell: int = 320,
    titles: tuple[str, str] = ("prediction", "ground truth"),
    captions: Sequence[str] = (),
) -> np.ndarray:
    """Pairs of pictures in columns, each column headed by what it shows.

    Args:
        rows: (prediction, ground truth or None) pictures, (H, W, 3) uint8, BGR; without any truth, one picture each.
        columns: pairs beside each other.
        cell: the longer side of each picture in the sheet in px.
        captions: a line above each row's pictures.

    Returns:
        The sheet, (H, W, 3) uint8, BGR.
    """
    paired = any(truth is not None for _, truth in rows)
    columns = max(1, min(columns if paired else 2 * columns, len(rows)))
    shown = [[_fitted(one, cell) for one in row if one is not None] for row in rows]
    each_width = max(one.shape[1] for row in shown for one in row)
    each_height = max(one.shape[0] for row in shown for one in row)
    step = (2 if paired else 1) * (each_width + _GAP) + _GAP
    line = _LINE if captions else 0
    height = _HEAD + -(-len(rows) // columns) * (each_height + _GAP + line)
    sheet = Image.new("RGB", (columns * step - _GAP + _GAP, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column in range(columns):
        for part, title in enumerate(titles[: 2 if paired else 1]):
            x = column * step + _GAP + part * (each_width + _GAP)
            pen.text((x, 8), title, fill=_INK, font=font(18))
    for index, row in enumerate(shown):
        x0 = (index % columns) * step + _GAP
        y0 = _HEAD + (index // columns) * (each_height + _GAP + line) + line
        if captions:
            pen.text(
                (x0, y0 - line + 2), _fitting(pen, captions[index], step - _GAP), fill=_INK, font=font(16)
            )
        for part, picture in enumerate(row):
            rgb = Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
            sheet.paste(rgb, (x0 + part * (each_width + _GAP), y0))
    return cv2.cvtColor(np.asarray(sheet), cv2.COLOR_RGB2BGR)


def _fitting(pen: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """As much of a text as there is room for."""
    if pen.textlength(text, font=font(16)) <= width:
        return text
    while text and pen.textlength(f"{text}...", font=font(16)) > width:
        text = text[:-1]
    return f"{text}..."


def _fitted(picture: np.ndarray, cell: int) -> np.ndarray:
    factor = cell / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
