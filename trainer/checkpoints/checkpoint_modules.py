"""Which modules loading a checkpoint may import: those that its user trusts already.

A checkpoint's config names the modules that its training needed. Importing runs code, so a name in a file from
elsewhere imports nothing. Imported are the modules that the user names for the command (``imports=[...]``), those of
installed plug-ins, and those that the checkpoint's own run recorded in ``run.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.checkpoints.resolve_checkpoint import ResolvedCheckpoint
from trainer.core import plugins
from trainer.core.user_modules import KEY, import_if_possible, import_modules, skip, user_modules


def import_trusted(
    config: dict[str, Any], checkpoint: ResolvedCheckpoint, named: Sequence[str] = ()
) -> list[str]:
    """Import the modules that a checkpoint may need.

    Only those that the user named must be there: a module that had nothing but a training's hook in it isn't missed.

    Args:
        config: the checkpoint's MMEngine config.
        named: the modules that the user named for this command.

    Returns:
        Those that are imported now.

    Raises:
        ConfigError: a module that the user named can't be imported.
    """
    import_modules(named)
    imported = [*named, *import_if_possible([*plugins.modules(), *_recorded(checkpoint)])]
    for name in user_modules(config.get("custom_imports")):
        if name not in imported and name not in _recorded(checkpoint):
            skip(name, f"{checkpoint.path.name} lies in no run of yours; if you trust it, {KEY}=[{name}]")
    return list(dict.fromkeys(imported))


def _recorded(checkpoint: ResolvedCheckpoint) -> list[str]:
    """What the run that the file lies in has imported; nothing for a file that was fetched into a cache."""
    if checkpoint.run is None or checkpoint.home is not None:
        return []
    names = checkpoint.run.facts.get("imports")
    return [str(name) for name in names] if isinstance(names, list) else []
