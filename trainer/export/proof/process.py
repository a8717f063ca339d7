"""A stand-alone script that uses an exported file as its user would: without OpenMMLab and the trainer.

It may import the package's wrapper, numpy, opencv and the runtime; an import of OpenMMLab or the trainer fails. It
reads a JSON request on standard input, writes arrays into the request's folder and a JSON answer on standard output.
"""

import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

REFUSED = ("trainer", "mmengine", "mmcv", "mmdet", "mmseg", "mmpose", "mmpretrain", "torchvision")
RUNTIMES = ("torch", "onnxruntime", "tensorrt")


class _Refuse:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in REFUSED:
            raise ImportError(f"an exported file must not need {name}")


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr  # a runtime may print; only the answer goes to standard output
    sys.meta_path.insert(0, _Refuse())
    import numpy as np

    wrapper = _load(request["wrapper"])
    model = wrapper.Model(request["model"], request["device"], request["threads"])
    folder = Path(request["folder"])
    with np.load(folder / "inputs.npz") as inputs:
        for name in inputs.files:
            np.savez(folder / f"outputs-{name}.npz", **model.run(inputs[name]))
        example = inputs["0"][:1]
    for start in range(0, len(request["images"]), request["batch"]):
        chunk = request["images"][start : start + request["batch"]]
        boxes = [None if entry["box"] is None else np.array([entry["box"]], np.float32) for entry in chunk]
        results = model.predict([entry["image"] for entry in chunk], 0.0, boxes, request["batch"])
        for index, result in enumerate(results, start):
            np.savez(folder / f"result-{index}.npz", **_arrays(np, result))
    seconds = {}
    for batch in request["latency"]:
        data = np.repeat(example, batch, 0)
        seconds[str(batch)] = median_seconds(lambda data=data: model.run(data))
    watched = {*REFUSED, *RUNTIMES, *request["packages"]}
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & watched)
    json.dump({"runtime": model.runtime.name, "seconds": seconds, "modules": loaded}, out)


def median_seconds(call: Any, most: int = 20, budget: float = 6.0) -> float:
    """Median seconds of up to ``most`` calls, after one or two to warm up.

    No call starts after ``budget`` seconds, so a slow function is timed once.
    """
    begin = time.perf_counter()
    call()
    if time.perf_counter() - begin < budget / 4:
        call()
    times: list[float] = []
    begin = time.perf_counter()
    while not times or (len(times) < most and time.perf_counter() - begin < budget):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("model_wrapper", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["model_wrapper"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def _arrays(np: Any, result: Any) -> dict[str, Any]:
    arrays = {"boxes": result.boxes, "scores": result.scores, "labels": result.labels}
    if result.masks is not None:
        arrays |= {"masks": np.packbits(result.masks), "shape": np.array(result.masks.shape)}
    for name in ("segmentation", "keypoints"):
        if getattr(result, name) is not None:
            arrays[name] = getattr(result, name)
    return arrays


if __name__ == "__main__":
    main()
