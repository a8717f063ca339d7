"""What a package says to its user, and what its code is told about the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from trainer.export.metadata import Metadata

_UNCUT = "Boxes may reach out of the image: this model doesn't cut them."
_RESIZED = {
    "fit": "resized to fit (aspect kept, bilinear, px = floor(side * factor + 0.5)), in the upper left corner, "
    "the rest filled with {pad}",
    "stretch": "resized (bilinear) to the whole size",
    "center": "warped to fit, in the middle, the rest filled with {pad}",
    "border": "put in its own size in the middle, its left upper corner at side // 2 - image's side // 2 (made smaller "
    "only where it doesn't fit), the rest filled with {pad}",
    "crop": "a box of the image, {box:g} times as large and widened to the input's aspect, warped to the whole size; "
    "outside of the image {pad}",
}
_MEANING = {
    "boxes": "x1 y1 x2 y2 in px of the input",
    "scores": "from 0 to 1, best first; 0 in rows that are not used",
    "labels": "index into the classes; -1 in rows that are not used",
    "masks": "probability times 255, of the input's size; the object is where it is at least 128",
    "segmentation": "class of each pixel of the input",
    "keypoints": "x and y in px of the input, score",
}


def requirements(runtime: Sequence[str]) -> str:
    """The ``requirements.txt`` of the Python code, with the lines that the runtime needs."""
    return "\n".join(("numpy", "opencv-python-headless", *runtime)) + "\n"


def readmes(metadata: Metadata, languages: Iterable[str]) -> dict[str, str]:
    """The README files below ``runtimes/`` by their place."""
    found = {"README.md": _general(metadata, languages), "python/README.md": _python(metadata)}
    if "cpp" in languages:
        found["cpp/README.md"] = _cpp(metadata)
    return found


def header(metadata: Metadata) -> str:
    """model_metadata.h: what the C++ code needs of metadata.json."""
    given = metadata["input"]
    edges = metadata.get("boxes", {"cut": True, "drop_empty": False})
    palette = ", ".join("{{" + ", ".join(map(str, colour)) + "}}" for colour in metadata["palette"])
    bones = ", ".join("{{" + ", ".join(map(str, pair)) + "}}" for pair in metadata.get("skeleton", []))
    lines = [
        "// Made for this model: what metadata.json says, as far as the code beside it needs it.",
        "#pragma once",
        "",
        "#include <array>",
        "#include <string>",
        "#include <vector>",
        "",
        "namespace metadata {",
        "enum class Resize { fit, stretch, center, border, crop };",
        f"inline constexpr const char* task = {_text(metadata['task'])};",
        f"inline constexpr const char* input_name = {_text(given['name'])};",
        f"inline constexpr bool uint8_input = {_bool(given['dtype'] == 'uint8')};",
        f"inline constexpr int width = {given['size'][0]}, height = {given['size'][1]};",
        f"inline constexpr bool dynamic_size = {_bool(given['dynamic_size'])};",
        f"inline constexpr int divisor = {given['divisor']};",
        f"inline constexpr int batch = {given['batch'] or 0};  // 0: any",
        f"inline constexpr bool rgb = {_bool(given['channels'] == 'rgb')};",
        f"inline constexpr Resize resize = Resize::{given['resize']};",
        f"inline constexpr float mean[3] = {_floats(given['mean'])};",
        f"inline constexpr float stddev[3] = {_floats(given['std'])};",
        f"inline constexpr float pad[3] = {_floats(given['pad_value'])};",
        f"inline constexpr float box_padding = {_floats([given['box_padding']])[1:-1]};",
        f"inline constexpr bool udp = {_bool(given['udp'])};",
        f"inline constexpr bool cut_boxes = {_bool(edges['cut'])}, drop_empty = {_bool(edges['drop_empty'])};",
        f"inline constexpr float shown = {_floats([metadata['thresholds']['shown']])[1:-1]};",
        f"inline const std::vector<std::string> classes = {{{', '.join(map(_text, metadata['classes']))}}};",
        f"inline const std::vector<std::array<int, 3>> palette = {{{palette}}};",
        f"inline const std::vector<std::array<int, 2>> skeleton = {{{bones}}};",
        "inline const std::vector<const char*> outputs = "
        f"{{{', '.join(_text(one['name']) for one in metadata['outputs'])}}};",
        "}  // namespace metadata",
        "",
    ]
    return "\n".join(lines)


def _general(metadata: Metadata, languages: Iterable[str]) -> str:
    given, thresholds = metadata["input"], metadata["thresholds"]
    width, height = given["size"]
    size = f"{width} x {height} px"
    if given["dynamic_size"]:
        size = f"any width and height in multiples of {given['divisor']}, images fitted into {size}"
    values = "uint8, 0 to 255" if given["dtype"] == "uint8" else "float32, (value - mean) / std"
    pad = " ".join(f"{value:g}" for value in given["pad_value"])
    lines = [
        f"# {metadata['model']}: {metadata['task'].replace('_', ' ')}",
        "",
        f"`{metadata['file']}` ({metadata['format']}, {metadata['precision']}) answers for images without the software "
        "it was trained with. `metadata.json` says all about it, `proof.json` how its answers were compared with "
        f"PyTorch's; the code is in {' and '.join(f'`{one}/`' for one in languages)}.",
        "",
        f"**Input** `{given['name']}`: (N, 3, H, W), {given['channels'].upper()}, {values}; "
        f"N {given['batch'] or 'open'}; {size}. mean {given['mean']}, std {given['std']} (of 0 to 255). An image is "
        f"{_RESIZED[given['resize']].format(pad=pad, box=given['box_padding'])}.",
        "",
        "**Outputs**",
        "",
        "| name | type | shape | meaning |",
        "|---|---|---|---|",
        *(
            f"| `{one['name']}` | {one['dtype']} | {_sides(one['shape'])} | {_MEANING.get(one['name'], '')} |"
            for one in metadata["outputs"]
        ),
        "",
    ]
    if thresholds["score"] is not None:
        nms = (
            ""
            if thresholds["nms_iou"] is None
            else f", duplicates that overlap by more than {thresholds['nms_iou']:g}"
        )
        lines += [f"Left out in the file: scores below {thresholds['score']:g}{nms}.", ""]
    if edges := metadata.get("boxes"):
        empty = ", and drops those of which nothing is left" if edges["drop_empty"] else ""
        cut = (
            f"The code cuts boxes at the image's edges{empty}, as the model does." if edges["cut"] else _UNCUT
        )
        lines += [cut, ""]
    lines += [f"**Classes**: {', '.join(metadata['classes'])}", ""]
    if metadata.get("keypoints"):
        lines += [f"**Keypoints**: {', '.join(metadata['keypoints'])}", ""]
    return "\n".join(lines)


def _python(metadata: Metadata) -> str:
    file = metadata["file"]
    return f"""# Python

```
pip install -r requirements.txt
python model_wrapper.py ../../{file} image.jpg --output drawn.png
```

```python
from model_wrapper import Model, draw, read_image

model = Model("../../{file}")  # device="cuda" where the runtime can use one
image = read_image("image.jpg")
result = model.predict(image)[0]
print(result.names, result.scores, result.boxes)  # px of the image
drawn = draw(image, result, model.metadata)
```

`predict` takes files and BGR arrays, one or many, and a `threshold`; `Model.prepare` and `Model.run` are
its two halves.
"""


def _cpp(metadata: Metadata) -> str:
    return f"""# C++

Needs CMake 3.16, a C++17 compiler, OpenCV 4 (core, imgproc, imgcodecs) and onnxruntime 1.17 or later.

```
cmake -S . -B build -DONNXRUNTIME_ROOT=/path/to/onnxruntime
cmake --build build
build/predict ../../{metadata["file"]} image.jpg drawn.png
```

`model_metadata.h` holds what metadata.json says of this model, so nothing is parsed when it runs.
"""


def _text(value: str) -> str:
    """A C++ string literal."""
    return json.dumps(value, ensure_ascii=False)


def _bool(value: Any) -> str:
    return "true" if value else "false"


def _floats(values: Sequence[float]) -> str:
    return "{" + ", ".join(f"{float(value)!r}f" for value in values) + "}"


def _sides(shape: Sequence[int | None]) -> str:
    return " x ".join("open" if side is None else str(side) for side in shape)
