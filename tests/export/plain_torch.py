"""TorchScript files in a process with torch alone: neither mm*, torchvision nor this package can be imported there.

As a program it is that process: for each line ``{"file", "inputs", "outputs"}`` it runs a file on an array (.npy) and
saves the answers (.npz).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

BLOCKED = ("trainer", "mmcv", "mmdet", "mmengine", "mmpose", "mmseg", "torchvision", "tests")


class PlainTorch:
    """The process; made once, asked often."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._count = folder, 0
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**env, "OMP_NUM_THREADS": "1"},
        )

    def run(self, file: Path, inputs: np.ndarray) -> list[np.ndarray]:
        """What the file answers for a batch of inputs."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._count += 1
        given, answered = (self.folder / f"{self._count}.{kind}" for kind in ("npy", "npz"))
        np.save(given, inputs)
        job = {"file": str(file), "inputs": str(given), "outputs": str(answered)}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        with np.load(answered) as content:
            return [content[str(index)] for index in range(len(content.files))]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _serve() -> None:
    sys.modules.update(dict.fromkeys(BLOCKED))  # type: ignore[arg-type]  # importing them fails
    import torch

    for line in sys.stdin:
        job = json.loads(line)
        try:
            module = torch.jit.load(job["file"])
            with torch.no_grad():
                answer = module(torch.from_numpy(np.load(job["inputs"])))
            answers = [answer] if isinstance(answer, torch.Tensor) else answer
            np.savez(job["outputs"], **{str(index): one.numpy() for index, one in enumerate(answers)})
            print(json.dumps({}), flush=True)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)


if __name__ == "__main__":
    _serve()
