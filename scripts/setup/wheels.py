"""The cache of compiled mmcv wheels, keyed by everything that a compiled wheel depends on."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from environment import HERE, Environment
from mmcv_build import VERSION

# FORCE_CUDA is mmcv's own word for compiling with nvcc where there is no GPU, as in an image's build; without a
# list of GPUs torch compiles for the one that is there.
_KEY = """
import os, platform, sys, torch
from torch.utils.cpp_extension import CUDA_HOME
cuda = 'cpu'
if CUDA_HOME and torch.version.cuda and (torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1'):
    cuda = 'cuda' + torch.version.cuda
    cuda += ''.join('-' + word for word in os.environ.get('TORCH_CUDA_ARCH_LIST', '').replace(';', ' ').split())
tag = sys.implementation.cache_tag
print(int(cuda != 'cpu'), int(torch.cuda.is_available()), '-'.join(
    ['mmcv', VERSION, 'torch', torch.__version__, tag, platform.system(), platform.machine(), cuda]))
"""


class Wheels:
    """Where this environment's mmcv wheel is kept: ``<cache>/wheels/<key>/<name>.whl``."""

    def __init__(self, env: Environment) -> None:
        code = f"VERSION = {VERSION!r}\n{_KEY}"
        done = subprocess.run([str(env.python), "-c", code], capture_output=True, text=True, check=True)
        with_cuda, has_gpu, name = done.stdout.split(maxsplit=2)
        self.with_cuda = with_cuda == "1"
        self.without_nvcc = has_gpu == "1" and not self.with_cuda
        # A build changed here is another wheel, even of the same mmcv.
        self.folder = cache_folder(env) / "wheels" / f"{name.strip()}-{_recipe()}"

    def find(self) -> Path | None:
        return next(iter(sorted(self.folder.glob("*.whl"))), None)

    def keep(self, wheel: Path) -> None:
        """Copy a wheel into the cache under a temporary name, then rename it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f"{wheel.name}.{os.getpid()}.draft"
        shutil.copyfile(wheel, draft)
        os.replace(draft, self.folder / wheel.name)

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def cache_folder(env: Environment) -> Path:
    """$TRAINER_CACHE, or a folder in the user's cache, or the environment where that can't be written."""
    if os.environ.get("TRAINER_CACHE"):
        return Path(os.environ["TRAINER_CACHE"])
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "openmmlab-trainer"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return env.folder / "cache"
    return folder if os.access(folder, os.W_OK) else env.folder / "cache"


def _recipe() -> str:
    return hashlib.sha256((HERE / "mmcv_build.py").read_bytes()).hexdigest()[:8]
