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
    """One thing that is submitted: a command, a script, a manifest, as the text that it is."""

    title: str
    text: str


@dataclass(frozen=True)
class DryRun:
    """All that a launcher would submit for a job; the job itself comes last, secrets masked."""

    launcher: str
    parts: tuple[DryRunPart, ...]

    @classmethod
    def of(cls, job: Job, parts: Sequence[DryRunPart]) -> DryRun:
        return cls(
            job.options.name,
            (*parts, DryRunPart(f"{job.folder / 'job.json'} (secrets masked)", shown_job(job))),
        )

    @property
    def text(self) -> str:
        return "\n".join(f"# {part.title}\n{part.text.rstrip()}\n" for part in self.parts)


def shown_job(job: Job) -> str:
    """A job as ``job.json`` has it, secrets masked."""
    facts: dict[str, Any] = {**job.as_dict(), "words": masked_words(list(job.words))}
    facts["options"] = {
        key: facts["options"][key]
        for key in facts["options"]
        if key != "dry_run" and key in keys_of(type(job.options))
    }
    facts["environment"] = shown_environment(job.environment)
    return json.dumps(masked(facts), indent=1, ensure_ascii=False)


def shown_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables with secrets masked."""
    found: dict[str, str] = masked(dict(environment))
    return found
