"""Compile mmcv's operators as a unity build: about a minute on two cores instead of thirteen.

mmcv ships 80 small C++ files and each of them parses torch's headers, which takes eight of its nine
seconds. Here the small files of a folder are hidden from mmcv's ``setup.py`` and one generated file
includes them all, so that the headers are parsed once a folder. CUDA sources stay as they are.

``python mmcv_build.py <empty folder>`` builds with the running Python's torch and leaves the wheel in
that folder; ``--plain`` builds without joining anything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

MMCV = "onedl-mmcv"
VERSION = "2.3.6"
CSRC = Path("mmcv/ops/csrc/pytorch")

# Files whose names or macros collide with those of a neighbour once they share a translation unit.
ALONE = {
    "": {"pybind.cpp"},
    "cpu": {
        "psamask.cpp",
        "roi_align.cpp",
        "roi_align_rotated.cpp",
        "rotated_feature_align.cpp",
        "box_iou_quadri.cpp",
    },
}
UNITY = "unity.cpp"
# Not matched by the "*.cpp" that setup.py looks for, and in the same folder, so that the files' own
# relative includes go on working.
HIDDEN = ".cpp.inc"


def join_sources(folder: Path, alone: set[str]) -> list[str]:
    """Hide the .cpp files of ``folder`` behind one that includes them; return the names it joined.

    Running it again changes nothing. The files named in ``alone`` stay as they are.
    """
    for source in sorted(folder.glob("*.cpp")):
        if source.name not in alone and source.name != UNITY:
            source.rename(source.with_suffix(HIDDEN))
    joined = sorted(path.name for path in folder.glob("*" + HIDDEN))
    if joined:
        lines = ["#include <torch/extension.h>", *(f'#include "{name}"' for name in joined)]
        (folder / UNITY).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return joined


def make_unity(source: Path) -> int:
    """Join the operator sources of an unpacked mmcv; return how many files were joined."""
    return sum(len(join_sources(source / CSRC / sub, alone)) for sub, alone in ALONE.items())


def build_environment(cuda: bool) -> dict[str, str]:
    """The environment of the compilation: no debug data, warnings off, CUDA only where torch has it."""
    env = dict(os.environ, MMCV_WITH_OPS="1")
    env["CFLAGS"] = (env.get("CFLAGS", "") + " -g0 -w").strip()
    env.setdefault("MAX_JOBS", str(os.cpu_count() or 2))
    if cuda:
        env["FORCE_CUDA"] = "1"
    return env


def pip(*words: str) -> list[str]:
    return [sys.executable, "-m", "pip", *words]


def fetch_source(folder: Path) -> Path:
    """Download and unpack mmcv's source; return the unpacked folder."""
    command = pip("download", "--no-deps", "--no-build-isolation", "--no-binary", MMCV, "--dest", str(folder))
    subprocess.run([*command, f"{MMCV}=={VERSION}"], check=True)
    archive = next(folder.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(folder)
    return next(path.parent for path in folder.glob("*/setup.py"))


def build(folder: Path, unity: bool = True) -> Path:
    """Build mmcv's wheel below ``folder`` and return its path."""
    import torch

    source = fetch_source(folder)
    if unity:
        print(f"joined {make_unity(source)} source files", flush=True)
    command = pip("wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-v", "--wheel-dir")
    env = build_environment(torch.cuda.is_available())
    subprocess.run([*command, str(folder), str(source)], check=True, env=env)
    return next(folder.glob("*.whl"))


if __name__ == "__main__":
    try:
        print(build(Path(sys.argv[1]).resolve(), unity="--plain" not in sys.argv))
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)
