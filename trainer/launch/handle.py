"""The name of something that was launched: ``local:<pid>``, ``slurm:<job>``, ``ray:<id>``, ``k8s:<ns>/<job>``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trainer.core.errors import ConfigError, did_you_mean

FORMS = {"local": "<pid>", "slurm": "<job>", "ray": "<id>", "k8s": "<namespace>/<job>"}
_PATTERNS = {
    "local": r"\d+",
    "slurm": r"\d+(_\d+)?",
    "ray": r"[\w.-]+",
    "k8s": r"[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9.-]*[a-z0-9])?",
}


@dataclass(frozen=True)
class Handle:
    scheme: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Handle:
        """A handle as it is written.

        Raises:
            ConfigError: it is none; says the nearest form.
        """
        scheme, colon, name = text.strip().partition(":")
        forms = ", ".join(f"{known}:{form}" for known, form in FORMS.items())
        if not colon or scheme not in FORMS:
            hint = did_you_mean(scheme, FORMS) if colon else ""
            raise ConfigError(f"{text!r} is no handle.{hint} Handles are {forms}.")
        if not re.fullmatch(_PATTERNS[scheme], name):
            raise ConfigError(f"{text!r} is no handle: expected {scheme}:{FORMS[scheme]}.")
        return cls(scheme, name)

    @classmethod
    def looks_like(cls, text: str) -> bool:
        """Whether ``text`` is meant as a handle, right or not; run ids have no colon."""
        return ":" in text

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}"
