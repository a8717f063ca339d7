"""Read and check ``launcher.pvc``, ``launcher.tolerations`` and the other options that no cluster is needed for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from trainer.core.errors import did_you_mean
from trainer.schema import KubernetesConfig as Options

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_CLAIM = re.compile(
    r"(?P<claim>[a-z0-9][a-z0-9.-]*)(?:/(?P<folder>[^:]+))?:(?P<path>/[^:]+)(?::(?P<mode>ro|rw))?"
)
_TAINT = re.compile(r"(?P<key>[\w./-]+)(?:=(?P<value>[\w.-]*))?(?::(?P<effect>\w+))?")


@dataclass(frozen=True)
class Mount:
    """A persistent volume claim, or a folder of it, mounted in the pods.

    Attributes:
        claim: the claim's name.
        folder: a folder in the claim; None for the whole claim.
        path: where it is mounted.
        read_only: whether the pods may only read.

    >>> Mount.parse("datasets:/data/datasets:ro")
    Mount(claim='datasets', folder=None, path='/data/datasets', read_only=True)
    """

    claim: str
    folder: str | None
    path: str
    read_only: bool

    @classmethod
    def parse(cls, text: str) -> Mount | None:
        """Read ``claim:/path``, ``claim/folder:/path`` or ``claim:/path:ro``; None for anything else."""
        match = _CLAIM.fullmatch(text)
        if match is None:
            return None
        path = str(PurePosixPath(match["path"]))
        return cls(match["claim"], match["folder"], path, match["mode"] == "ro")

    def holds(self, path: PurePosixPath) -> bool:
        """Whether files below a path are written to this mount."""
        return not self.read_only and PurePosixPath(self.path) in (path, *path.parents)


def mounts(options: Options) -> list[Mount]:
    """The claims of ``launcher.pvc``; :func:`find_mistakes` reports those that can't be read."""
    return [mount for text in options.pvc if (mount := Mount.parse(text))]


def tolerations(options: Options) -> list[dict[str, Any]]:
    """The tolerations of a pod's ``spec``."""
    result = []
    for text in options.tolerations:
        if taint := _TAINT.fullmatch(text):
            value = (
                {"operator": "Equal", "value": taint["value"]} if taint["value"] else {"operator": "Exists"}
            )
            effect = {"effect": taint["effect"]} if taint["effect"] else {}
            result.append({"key": taint["key"], **value, **effect})
    return result


def find_mistakes(options: Options) -> Iterable[str]:
    """All mistakes in a launcher's options that can be found without a cluster, as messages."""
    if not options.image:
        yield "launcher.image: name the image that holds the trainer, as in launcher.image=registry/trainer-openmm:1.0"
    mounted: set[str] = set()
    for text in options.pvc:
        mount = Mount.parse(text)
        if mount is None:
            yield f"launcher.pvc: expected claim:/path, claim/folder:/path or claim:/path:ro, got {text!r}."
        elif mount.path in (*_RESERVED_PATHS, *mounted):
            yield f"launcher.pvc: {mount.path} is mounted already."
        else:
            mounted.add(mount.path)
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
            yield f"launcher.{key}: expected an absolute path of letters, digits and ._-+, got {value!r}."
    if options.nproc != "auto" and options.gpus and options.nproc > options.gpus:
        yield f"launcher.nproc={options.nproc}: {options.gpus} GPUs are requested on each node (launcher.gpus)."


_RESERVED_PATHS = ("/", "/tmp", "/dev/shm")
