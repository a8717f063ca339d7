"""Where the installed OpenMMLab packages keep their configs, found without importing the packages."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from pathlib import Path

from trainer.core.errors import ConfigError, did_you_mean

PACKAGES = ("mmdet", "mmseg", "mmpose")
# What they are called where they are installed from: the maintained fork first.
_DISTRIBUTIONS = {
    "mmdet": ("onedl-mmdetection", "mmdet"),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
    "mmpose": ("onedl-mmpose", "mmpose"),
    "mmcv": ("onedl-mmcv", "mmcv"),
    "mmengine": ("onedl-mmengine", "mmengine"),
}


def config_path(base: str) -> Path:
    """The file of ``package::path/of/config.py``; the ``.py`` may be left out.

    Raises :class:`ConfigError` when the package isn't installed or has no such config, with the nearest ones.
    """
    package, separator, relative = base.partition("::")
    if not separator or not relative:
        raise ConfigError(
            f"model.base={base}: expected package::path, as in mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py."
        )
    if package not in PACKAGES:
        raise ConfigError(
            f"model.base={base}: expected one of {', '.join(PACKAGES)} before '::', got {package!r}."
        )
    folder = configs_dir(package)
    if folder is None:
        raise ConfigError(f"model.base={base}: the package {package} is not installed.")
    path = folder / (relative if relative.endswith(".py") else f"{relative}.py")
    if not path.is_file():
        raise ConfigError(
            f"model.base={base}: {package} has no such config.{did_you_mean(relative, list_configs(package))}"
        )
    return path


@functools.cache
def configs_dir(package: str) -> Path | None:
    """The folder of a package's configs, or None when it isn't installed. Never imports the package."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        # In a wheel, or in a checkout installed as editable.
        for folder in (Path(location) / ".mim" / "configs", Path(location).parent / "configs"):
            if folder.is_dir():
                return folder
    return None


@functools.cache
def package_version(package: str) -> str | None:
    """A package's version, or None when it isn't installed. Never imports the package."""
    for name in _DISTRIBUTIONS[package]:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


@functools.cache
def list_configs(package: str) -> list[str]:
    """All configs of a package as ``folder/name`` without ``.py``, sorted, without the shared ``_base_``."""
    folder = configs_dir(package)
    if folder is None:
        return []
    paths = (path.relative_to(folder) for path in folder.rglob("*.py"))
    hidden = ("_base_", "__pycache__")
    return sorted(
        p.with_suffix("").as_posix() for p in paths if len(p.parts) > 1 and not set(hidden) & set(p.parts)
    )
