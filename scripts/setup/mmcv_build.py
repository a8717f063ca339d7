"""Compile mmcv's operators as a unity build: under a minute on two cores instead of thirteen.

mmcv ships 80 small C++ files, and each of them parses torch's headers for eight of its nine seconds.
Here they are hidden from mmcv's ``setup.py`` and two generated files include them all: one with the
CPU kernels, one with the dispatchers and the Python bindings. CUDA sources stay as they are.

``python mmcv_build.py <folder>`` builds with the running Python's torch and leaves the wheel in that
folder; ``--plain`` builds without joining anything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

MMCV = "onedl-mmcv"
VERSION = "2.3.6"
CSRC = Path("mmcv/ops/csrc/pytorch")
UNITY = "unity.cpp"
# Not matched by the "*.cpp" that setup.py looks for, and in the same folder, so that the files' own
# relative includes go on working.
HIDDEN = ".cpp.inc"
# The bindings include all of torch's C++ front end, which they do not use and which takes 20 s to parse.
WHOLE_TORCH = "#include <torch/extension.h>"
BINDINGS = "#include <torch/csrc/utils/pybind.h>"
# psamask.cpp defines macros called min and max: whatever follows it would break.
LAST = ("psamask", "pybind")
# Helpers that four kernels define under the same names: each gets its file's name in front.
LOCAL_HELPERS = (
    "PreCalc",
    "pre_calc_for_bilinear_interpolate",
    "bilinear_interpolate_gradient",
    "bilinear_interpolate",
    "add",
    "valueAdd",
)
SHARE_HELPERS = ("bezier_align", "roi_align", "roi_align_rotated", "rotated_feature_align")


def join_sources(folder: Path) -> list[str]:
    """Hide the .cpp files of ``folder`` behind one that includes them; return their names in its order.

    Running it again changes nothing.
    """
    for source in sorted(folder.glob("*.cpp")):
        if source.name != UNITY:
            text = source.read_text(encoding="utf-8")
            source.write_text(text.replace(WHOLE_TORCH, BINDINGS), encoding="utf-8")
            source.rename(source.with_suffix(HIDDEN))
    names = sorted((path.name.removesuffix(HIDDEN) for path in folder.glob("*" + HIDDEN)), key=_place)
    lines = [line for name in names for line in _include(name)]
    (folder / UNITY).write_text("\n".join([BINDINGS, *lines]) + "\n", encoding="utf-8")
    return names


def build_environment(cuda: bool, nvcc: bool) -> dict[str, str]:
    """The environment of the compilation: optimised, no debug data, CUDA where torch and nvcc have it."""
    env = dict(os.environ, MMCV_WITH_OPS="1")
    # CFLAGS replaces the flags Python was built with, -O3 among them: without -O2 here the operators
    # would not be optimised at all.
    env["CFLAGS"] = "-O2 -DNDEBUG -g0 -w " + env.get("CFLAGS", "")
    env.setdefault("MAX_JOBS", str(os.cpu_count() or 2))
    if cuda and nvcc:
        env["FORCE_CUDA"] = "1"
    elif cuda:
        env["CUDA_VISIBLE_DEVICES"] = ""
    return env


def build(folder: Path, unity: bool = True) -> Path:
    """Build mmcv's wheel below ``folder`` and return its path."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    source = _fetch_source(folder)
    if unity:
        count = len(join_sources(source / CSRC)) + len(join_sources(source / CSRC / "cpu"))
        print(f"joined {count} source files", flush=True)
    command = _pip("wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-v", "--wheel-dir")
    env = build_environment(torch.cuda.is_available(), CUDA_HOME is not None)
    subprocess.run([*command, str(folder), str(source)], check=True, env=env)
    return next(folder.glob("*.whl"))


def _place(name: str) -> tuple[bool, str]:
    return name in LAST, name


def _include(name: str) -> list[str]:
    helpers = LOCAL_HELPERS if name in SHARE_HELPERS else ()
    return [
        *(f"#define {helper} {name}_{helper}" for helper in helpers),
        f'#include "{name}{HIDDEN}"',
        *(f"#undef {helper}" for helper in helpers),
    ]


def _pip(*words: str) -> list[str]:
    return [sys.executable, "-m", "pip", *words]


def _fetch_source(folder: Path) -> Path:
    command = _pip("download", "--no-deps", "--no-build-isolation", "--no-binary", MMCV, "--dest")
    subprocess.run([*command, str(folder), f"{MMCV}=={VERSION}"], check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)
    return next(path.parent for path in folder.glob("*/setup.py"))


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        print(build(target, unity="--plain" not in sys.argv))
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)
