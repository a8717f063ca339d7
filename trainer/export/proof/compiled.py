"""How fast the graph is with ``torch.compile``, in a process that can be given up on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.export.proof.process import median_seconds

_ROOT = Path(__file__).parents[3]


def compiled_seconds(
    graph: Any, sizes: Sequence[Sequence[int]], threads: int, budget: float
) -> dict[int, float | str]:
    """Median seconds a run by batch size, or in words why there is none.

    Args:
        graph: the module.
        sizes: shapes of the inputs, batch first.
        budget: seconds for loading it and compiling it for all of them; what isn't done by then is given up.
    """
    import torch

    with tempfile.TemporaryDirectory(prefix="compiled-") as folder:
        module, output, errors = (Path(folder) / name for name in ("graph.pt", "out", "errors"))
        try:
            torch.save(graph, module)
        except Exception as error:  # whatever some model's parts raise when they are pickled
            return {shape[0]: f"not measured: {type(error).__name__}: {error}"[:200] for shape in sizes}
        request = json.dumps(
            {"module": str(module), "shapes": [list(one) for one in sizes], "threads": threads}
        )
        with output.open("w") as out, errors.open("w") as err:
            in_time = _run([sys.executable, "-W", "ignore", "-m", __name__, request], out, err, budget)
        done = dict(json.loads(line) for line in output.read_text().splitlines())
        said = [line.strip() for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    missing = f"not compiled in {budget:g} s" if not in_time else f"fails: {said[-1][:200] if said else ''}"
    return {shape[0]: done.get(shape[0], missing) for shape in sizes}


def _run(command: list[str], out: Any, err: Any, budget: float) -> bool:
    """Whether it ended in time; otherwise it is ended with all that it started."""
    environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=_ROOT, stdout=out, stderr=err, env=environment, start_new_session=True
    )
    try:
        process.wait(budget)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _main(request: dict[str, Any]) -> None:
    import torch

    from trainer.engine import compat

    compat.apply()
    compat.hide_gpus()
    torch.set_num_threads(request["threads"])
    out, sys.stdout = sys.stdout, sys.stderr
    graph = torch.load(request["module"], weights_only=False)  # of our own making, a moment ago
    compiled = torch.compile(graph)
    kind = torch.uint8 if graph.options.preprocess else torch.float32
    for shape in request["shapes"]:
        data = torch.zeros(shape, dtype=kind)
        with torch.no_grad():
            seconds = median_seconds(lambda data=data: compiled(data))
        print(json.dumps([shape[0], seconds]), file=out, flush=True)


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
