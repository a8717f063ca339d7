"""The name of a launched job: ``local:<pid>``, ``slurm:<job>``, ``ray:<id>``, ``k8s:<namespace>/<job>``.

The part before the colon is the launcher's scheme. A plug-in's scheme is the name of its entry point, unless its class
extends one of the launchers here and gives handles of that one's scheme.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.core import plugins
from trainer.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from typing import Any

GROUP = "trainer.launchers"


@dataclass(frozen=True)
class Handle:
    """A job's name: the launcher's scheme, and the engine's own name for the job.

    >>> handle = Handle.parse("k8s:training/rtmdet-s-1")
    >>> handle.scheme, handle.name
    ('k8s', 'training/rtmdet-s-1')
    >>> print(handle)
    k8s:training/rtmdet-s-1
    """

    scheme: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Handle:
        """Read a handle that somebody typed.

        Raises:
            ConfigError: it isn't one; the message names the nearest form.
        """
        scheme, colon, name = text.strip().partition(":")
        launcher_class = _class_of_scheme(scheme) if colon else None
        if launcher_class is None:
            forms = _handle_forms()
            listed = ", ".join(f"{known}:{form}" for known, form in forms.items())
            hint = did_you_mean(scheme, forms) if colon else ""
            raise ConfigError(f"{text!r} is not a handle.{hint} Handles are {listed}.")
        if not re.fullmatch(launcher_class.handle_pattern, name):
            raise ConfigError(f"{text!r} is not a handle: expected {scheme}:{launcher_class.handle_form}.")
        return cls(scheme, name)

    @classmethod
    def saved(cls, text: str) -> Handle:
        """Read a handle that a file holds; it isn't checked, so that no launcher is imported for it."""
        scheme, _, name = text.partition(":")
        return cls(scheme, name)

    @classmethod
    def looks_like(cls, text: str) -> bool:
        """Whether ``text`` is meant as a handle, right or not; run ids have no colon."""
        return ":" in text

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}"


def _class_of_scheme(scheme: str) -> Any:
    """The launcher whose handles begin with a scheme; None where there is none.

    A launcher of that name is tried first, so that as a rule only one module is imported.
    """
    entries = plugins.entry_points(GROUP)
    same_name = [entry for entry in entries if entry.name == scheme]
    others = [entry for entry in entries if entry.distribution is None and entry.name != scheme]
    for entry in (*same_name, *others):
        launcher_class = entry.load()
        if getattr(launcher_class, "scheme", None) in (scheme, ""):
            return launcher_class
    return None


def _handle_forms() -> dict[str, str]:
    """``scheme -> form`` of all handles; plug-ins aren't imported for it."""
    forms: dict[str, str] = {}
    for entry in plugins.entry_points(GROUP):
        if entry.distribution is None:
            launcher_class = entry.load()
            forms.setdefault(launcher_class.scheme, launcher_class.handle_form)
        else:
            forms.setdefault(entry.name, "<id>")
    return forms
