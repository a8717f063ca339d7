"""What ``launcher.pvc`` and ``launcher.tolerations`` say, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from trainer.core.errors import did_you_mean
from trainer.schema import LauncherConfig as Options

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_CLAIM = re.compile(
    r"(?P<claim>[a-z0-9][a-z0-9.-]*)(?:/(?P<folder>[^:]+))?:(?P<path>/[^:]+)(?::(?P<mode>ro|rw))?"
)
_TAINT = re.compile(r"(?P<key>[\w./-]+)(?:=(?P<value>[\w.-]*))?(?::(?P<effect>\w+))?")


@dataclass(frozen=True)
class Mount:
    """A claim, or a folder of it, at a path of the pods."""

    claim: str
    folder: str | None
    path: str
    read_only: bool

    @classmethod
    def parse(cls, text: str) -> Mount | None:
        """``claim:/path``, ``claim/folder:/path``, ``claim:/path:ro``; None for anything else."""
        found = _CLAIM.fullmatch(text)
        if found is None:
            return None
        path = str(PurePosixPath(found["path"]))
        return cls(found["claim"], found["folder"], path, found["mode"] == "ro")

    def holds(self, path: PurePosixPath) -> bool:
        return not self.read_only and PurePosixPath(self.path) in (path, *path.parents)


def mounts(options: Options) -> list[Mount]:
    """The claims; those that can't be read are told of by :func:`mistakes`."""
    return [mount for text in options.pvc if (mount := Mount.parse(text))]


def tolerations(options: Options) -> list[dict[str, Any]]:
    """The tolerations as a pod has them."""
    found = []
    for text in options.tolerations:
        if taint := _TAINT.fullmatch(text):
            value = (
                {"operator": "Equal", "value": taint["value"]} if taint["value"] else {"operator": "Exists"}
            )
            effect = {"effect": taint["effect"]} if taint["effect"] else {}
            found.append({"key": taint["key"], **value, **effect})
    return found


def mistakes(options: Options) -> Iterable[str]:
    """All that is wrong with a launcher's options and can be told without a cluster."""
    if not options.image:
        yield "launcher.image: name the image that holds the trainer, as in launcher.image=registry/trainer-openmm:1.0"
    seen: set[str] = set()
    for text in options.pvc:
        mount = Mount.parse(text)
        if mount is None:
            yield f"launcher.pvc: expected claim:/path, claim/folder:/path or claim:/path:ro, got {text!r}."
        elif mount.path in (*_TAKEN, *seen):
            yield f"launcher.pvc: {mount.path} is mounted already."
        else:
            seen.add(mount.path)
    for text in options.tolerations:
        taint = _TAINT.fullmatch(text)
        if taint is None:
            yield f"launcher.tolerations: expected key, key:Effect or key=value:Effect, got {text!r}."
        elif taint["effect"] and taint["effect"] not in EFFECTS:
            hint = did_you_mean(taint["effect"], EFFECTS) or f" Effects: {', '.join(EFFECTS)}."
            yield f"launcher.tolerations: {text!r}: there is no effect {taint['effect']!r}.{hint}"
    for key in ("workdir", "output_dir"):
        value = getattr(options, key)
        if value is not None and not re.fullmatch(r"/[\w./+-]*", value):
            yield f"launcher.{key}: expected a path from / on, of letters, digits and ._-+, got {value!r}."
    if options.nproc != "auto" and options.gpus and options.nproc > options.gpus:
        yield f"launcher.nproc={options.nproc}: {options.gpus} GPUs are asked for each node (launcher.gpus)."


_TAKEN = ("/", "/tmp", "/dev/shm")
