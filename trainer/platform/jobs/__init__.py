"""One module for each kind of job: train, predict, export, evaluate.

A kind has::

    prepare(variables: Variables, id: int, url: str, mistakes: list[str]) -> Job
        what the variables mean; all that is wrong with them is added to ``mistakes`` (the entry shows the job's rows,
        then raises), and only what can't be mended by other variables is raised
    run(job: Job, supervisor: Supervisor) -> int
        0 or 1 (after a signal the entry makes it 143 or 130); the completion is told in here, also that of a failure
    failure(variables: Variables, id: int, error: TrainerError, trace: str | None) -> Body
        the completion of a job that failed before ``run`` told anything
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trainer.platform.settings.environment_variables import Variables
from trainer.platform.settings.setting_keys import SettingRow


@dataclass
class PlatformJob:
    """What a script is to do.

    Attributes:
        kind: train, predict, export or evaluate.
        id: the platform's number.
        url: where callbacks go.
        variables: what it was started with.
        environment: variables for the processes that it starts.
        work: the job's own folder.
        overrides: the trainer's configuration, ``key=value`` each.
        rows: what became of variables and settings, for the table at the start.
        notes: what somebody should know, a line each.
        run_dir: of a training, its run directory, there or not yet.
    """

    kind: str
    id: int
    url: str
    variables: Variables
    environment: dict[str, str]
    work: Path
    overrides: list[str] = field(default_factory=list)
    rows: list[SettingRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    run_dir: Path = field(default_factory=Path)
