#!/usr/bin/env python3
"""Pictures of runs in MLflow's UI for docs/images: the run list, a run, its plots, a comparison of three runs.

  .venv/bin/python scripts/screenshots/main.py                 trains a sweep of three short runs first (5 minutes)
  .venv/bin/python scripts/screenshots/main.py --runs runs     of runs that are there: runs/mlflow.db
  .venv/bin/python scripts/screenshots/main.py --runs runs --of sweep    of the newest sweep there

Needs, beside this project's environment with MLflow: node and npm, and Chromium (apt-get install nodejs npm chromium);
another browser of its kind by CHROMIUM=/path/to/it. playwright-core, which steers it, is installed from npm into a
temporary folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLAYWRIGHT = "playwright-core@1.65.1"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWEEP = [
    "experiment=digits", "dataset.scenes=240", "dataset.val_scenes=60", "runtime.epochs=5", "runtime.val_interval=1",
    "runtime.log_interval=3", "optimizer.lr=0.0005,0.002,0.004",
]  # fmt: skip
EXPERIMENT = "digits"
COLOURS = 128
LARGEST = 300_000


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, help="an output_dir with runs; without it, some are trained")
    parser.add_argument("--experiment", default=EXPERIMENT, help="the experiment that is shown")
    parser.add_argument("--of", choices=("mlflow", "sweep"), default="mlflow", help="sweep: its newest sweep")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    missing = [name for name in ("node", "npm") if not shutil.which(name)] + ([] if browser else ["chromium"])
    if missing:
        print(f"not found: {', '.join(missing)}; {(__doc__ or '').split('Needs, ')[1]}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        runs = options.runs or train(Path(folder))
        subprocess.run(["npm", "install", "--silent", "--prefix", folder, PLAYWRIGHT], check=True)
        for script in Path(__file__).parent.glob("*.mjs"):
            shutil.copy(script, folder)
        port = free_port()
        server = serve(runs, port)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server)
            address = f"http://127.0.0.1:{port}"
            taken = Path(folder, "taken")
            taken.mkdir()
            command = [
                "node",
                str(Path(folder, f"{options.of}.mjs")),
                address,
                options.experiment,
                str(taken),
            ]
            subprocess.run(command, check=True, env={**os.environ, "CHROMIUM": str(browser)}, timeout=300)
        finally:
            server.terminate()
            server.wait()
        for picture in sorted(taken.iterdir()):
            shrink(picture, options.output / picture.name)
    return 0


def train(folder: Path) -> Path:
    """Three short runs of one sweep; their output_dir."""
    runs = folder / "runs"
    command = [sys.executable, "-m", "trainer", "-m", *SWEEP, f"output_dir={runs}"]
    subprocess.run(command, check=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return runs


def serve(runs: Path, port: int) -> subprocess.Popen[bytes]:
    """MLflow's UI on the runs' database."""
    store = f"sqlite:///{(runs / 'mlflow.db').resolve()}"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store, "--port", str(port)]
    return subprocess.Popen(
        [*command, "--workers", "1"],
        cwd=runs.resolve(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(address: str, server: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Return when the server answers."""
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise SystemExit("MLflow's UI doesn't start: python -m mlflow ui would say why")


def shrink(source: Path, target: Path) -> None:
    """Few colours are enough for a picture of an interface."""
    from PIL import Image

    target.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(source).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    size = target.stat().st_size
    print(f"{target}: {picture.width} x {picture.height}, {size / 1000:.0f} kB")
    if size > LARGEST:
        raise SystemExit(f"{target} is larger than {LARGEST / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
