"""Where this package is installed, its version, and the environment in which a child process finds it again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VERSION = "0.1.0"
_SITE_PACKAGES = ("site-packages", "dist-packages")


def package_root() -> Path:
    """The folder that holds the package ``trainer``: ``site-packages``, or the root of a checkout."""
    return Path(__file__).resolve().parents[2]


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables for a child process that imports this very trainer, whatever folder it is started in.

    A checkout is found through the working folder, which may be another one by then, so it is put first on
    ``PYTHONPATH``. An installed package needs nothing.

    Args:
        environment: the variables to start from; None for those of this process.
    """
    found = dict(os.environ if environment is None else environment)
    root = package_root()
    if root.name not in _SITE_PACKAGES:
        paths = [str(root), *found.get("PYTHONPATH", "").split(os.pathsep)]
        found["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))
    return found
