"""What a launcher would submit, exactly, for ``launcher.dry_run=true``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.core.secrets import masked, masked_words
from trainer.launch.job import Job
from trainer.schema.choices import keys_of


@dataclass(frozen=True)
class DryRunPart:
    """One part of what is submitted: a command, a script or a manifest.

    Attributes:
        title: what the part is, in one line.
        text: the part, as it is submitted.
    """

    title: str
    text: str


@dataclass(frozen=True)
class DryRun:
    """All that a launcher would submit for a job; the job's own file comes last, with secrets masked."""

    launcher: str
    parts: tuple[DryRunPart, ...]

    @classmethod
    def of(cls, job: Job, parts: Sequence[DryRunPart]) -> DryRun:
        """The launcher's parts and the job's file."""
        job_file = DryRunPart(f"{job.folder / 'job.json'} (secrets masked)", masked_job(job))
        return cls(job.options.name, (*parts, job_file))

    @property
    def text(self) -> str:
        """All parts, as ``launcher.dry_run=true`` prints them."""
        return "\n".join(f"# {part.title}\n{part.text.rstrip()}\n" for part in self.parts)


def masked_job(job: Job) -> str:
    """The content of ``job.json``, with secrets masked and only the options of the job's own launcher."""
    content: dict[str, Any] = {**job.as_dict(), "words": masked_words(list(job.argv))}
    known = keys_of(type(job.options))
    content["options"] = {
        key: value for key, value in content["options"].items() if key != "dry_run" and key in known
    }
    content["environment"] = masked_environment(job.environment)
    return json.dumps(masked(content), indent=1, ensure_ascii=False)


def masked_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables with secrets masked."""
    result: dict[str, str] = masked(dict(environment))
    return result
