"""Run as a script of its own: an exported file is used as its user would use it, without OpenMMLab and the trainer.

Only the package's own wrapper, numpy, opencv and the runtime may be imported; the import of anything of OpenMMLab's
or ours is refused. Reads a JSON request on standard input, writes arrays into the request's folder and a JSON
answer on standard output.
"""

import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

REFUSED = ("trainer", "mmengine", "mmcv", "mmdet", "mmseg", "mmpose", "mmpretrain", "torchvision")


class _Refuse:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in REFUSED:
            raise ImportError(f"an exported file must not need {name}")


def main() -> None:
    request = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr  # what a runtime prints is no answer
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
        some = request["images"][start : start + request["batch"]]
        boxes = [None if one["box"] is None else np.array([one["box"]], np.float32) for one in some]
        results = model.predict([one["image"] for one in some], 0.0, boxes, request["batch"])
        for index, result in enumerate(results, start):
            np.savez(folder / f"result-{index}.npz", **_arrays(np, result))
    seconds = {}
    for batch in request["latency"]:
        data = np.repeat(example, batch, 0)
        seconds[str(batch)] = median_seconds(lambda data=data: model.run(data))
    loaded = sorted(
        {name.partition(".")[0] for name in sys.modules} & {*REFUSED, "torch", "onnxruntime", "tensorrt"}
    )
    json.dump({"runtime": model.runtime.name, "seconds": seconds, "modules": loaded}, out)


def median_seconds(call: Any, most: int = 20, budget: float = 6.0) -> float:
    """Median of up to ``most`` calls after one or two to warm up; no more are begun after ``budget`` seconds, so of
    slow ones there is a single one."""
    begun = time.perf_counter()
    call()
    if time.perf_counter() - begun < budget / 4:
        call()
    times: list[float] = []
    begun = time.perf_counter()
    while not times or (len(times) < most and time.perf_counter() - begun < budget):
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
    found = {"boxes": result.boxes, "scores": result.scores, "labels": result.labels}
    if result.masks is not None:
        found |= {"masks": np.packbits(result.masks), "shape": np.array(result.masks.shape)}
    for name in ("segmentation", "keypoints"):
        if getattr(result, name) is not None:
            found[name] = getattr(result, name)
    return found


if __name__ == "__main__":
    main()
