"""Launchers by name and by their handles' scheme, imported when they are asked for."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from trainer.core.errors import ResourceError
from trainer.schema import LauncherConfig as Options

if TYPE_CHECKING:
    from trainer.launch.job_store import LaunchedJob
    from trainer.launch.launcher import Launcher

_CLASSES = {
    "local": "trainer.launch.local:Local",
    "torchrun": "trainer.launch.torchrun:Torchrun",
    "slurm": "trainer.launch.slurm.slurm_launcher:Slurm",
    "ray": "trainer.launch.ray_cluster.ray_launcher:RayCluster",
    "kubernetes": "trainer.launch.k8s:Kubernetes",
}
# The package that a launcher can't do without, and the extra that brings it.
_NEEDS = {
    "slurm": ("submitit", "slurm"),
    "ray": ("ray", "ray"),
    "kubernetes": ("kubernetes", "kubernetes"),
    "torchrun": ("torch", ""),
}


def make_launcher(options: Options) -> Launcher:
    """The launcher of that name.

    Raises:
        ResourceError: its package isn't installed.
    """
    package, extra = _NEEDS.get(options.name, (None, ""))
    if package and importlib.util.find_spec(package) is None:
        how = f"pip install 'openmmlab-trainer[{extra}]'" if extra else f"pip install {package}"
        raise ResourceError(f"launcher={options.name} needs the package {package}: {how}")
    module, _, name = _CLASSES[options.name].partition(":")
    made: Launcher = getattr(importlib.import_module(module), name)(options)
    return made


def launcher_of(launched: LaunchedJob) -> Launcher:
    """The launcher that something was launched with."""
    return make_launcher(launched.job.options)
