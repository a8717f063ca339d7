"""The data formats by the names that ``dataset.format`` takes: our own and those of plug-ins."""

from __future__ import annotations

import logging

from trainer.core import plugins
from trainer.core.errors import ConfigError
from trainer.data.formats.data_format import DataFormat

GROUP = "trainer.formats"
_log = logging.getLogger("trainer")


def format_names() -> list[str]:
    """Return the names of all formats, without importing any."""
    return plugins.names(GROUP)


def load_format(name: str) -> DataFormat:
    """Import a format.

    Raises:
        ConfigError: there is no such format, it can't be imported, or it is no :class:`DataFormat`.
    """
    entry = plugins.find(GROUP, name)
    loaded = entry.load()
    try:
        data_format = loaded() if isinstance(loaded, type) else loaded
    except TypeError as error:  # an abstract method is missing
        raise ConfigError(
            f"{name}: {entry.source} can't be used ({GROUP}, {entry.value}): {error}"
        ) from error
    if not isinstance(data_format, DataFormat):
        raise ConfigError(
            f"{name}: {entry.source} can't be used ({GROUP}, {entry.value}): expected a subclass of "
            "trainer.data.formats.DataFormat"
        )
    return data_format


def load_formats() -> dict[str, DataFormat]:
    """Import every format, for ``dataset=auto``. A plug-in that can't be used is left out with a warning."""
    formats = {}
    for name in format_names():
        try:
            formats[name] = load_format(name)
        except ConfigError as error:
            _log.warning("dataset=auto looks past a format: %s", error)
    return formats
