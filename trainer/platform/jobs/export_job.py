"""An export job: a file for another runtime, proven and packed, in the results store."""

from __future__ import annotations

import json
from typing import Any

from trainer.config.overrides import parse_override
from trainer.core.errors import ConfigError, FrameworkError, TrainerError, did_you_mean
from trainer.export.settings import from_export_config
from trainer.platform.callbacks.payloads import (
    ExportCompletionPayload,
    ExportStartedPayload,
    Payload,
    timestamp,
)
from trainer.platform.jobs import PlatformJob
from trainer.platform.jobs.operation import Operation, upload
from trainer.platform.settings.environment_variables import Variables
from trainer.platform.settings.setting_keys import Reader
from trainer.platform.supervisor import Supervisor
from trainer.schema import export_formats


class ExportOperation(Operation):
    command = "export"
    settings = ()

    def place(self, job: PlatformJob, config: dict[str, Any], reader: Reader, mistakes: list[str]) -> None:
        given = job.variables.get("EXPORT_FORMAT")
        if given is None:
            mistakes.append(
                f"{job.variables.named('EXPORT_FORMAT')} is missing: one of {', '.join(export_formats())}"
            )
        elif given.value.lower() not in export_formats():
            mistakes.append(
                f"{given.source}={given.value}: this trainer exports {', '.join(export_formats())}."
                f"{did_you_mean(given.value, export_formats())}"
            )
        else:
            reader.take([("format", given.value.lower())], given.source, given.value)
        # A platform's job is waited for: what torch.compile would make of the model is nobody's question there.
        reader.pairs |= {"id": str(job.id), "compile_seconds": 0}

    def read(self, config: dict[str, Any], source: str, reader: Reader) -> None:
        try:
            overrides, notes = from_export_config(config)
        except ConfigError as error:
            reader.mistakes.append(error.message.replace("EXPORT_CONFIG", source, 1))
            return
        for word in overrides:
            typed = parse_override(word)
            reader.take([(typed.key, typed.value)], source, word.partition("=")[2])
        for note in notes:
            name, _, why = note.removeprefix("EXPORT_CONFIG: ").partition(" is ignored: ")
            reader.ignore(f"{source}.{name}", config[name], why)

    def started(self, job: PlatformJob) -> Payload:
        return ExportStartedPayload(job.id, timestamp=timestamp())

    def finished(self, job: PlatformJob) -> Payload:
        found = sorted((job.work / "results").glob("*/metadata.json"))
        if not found:
            raise FrameworkError("the export left no file")
        folder = found[0].parent
        metadata = json.loads(found[0].read_bytes())
        package = folder / f"export_{job.id}.zip"
        key = f"exports/{job.variables.text('TRAINING_JOB_ID') or job.id}/{job.id}/{package.name}"
        store = upload([(package, key)])
        return ExportCompletionPayload(
            job.id,
            "completed",
            export_format=metadata["export_format"],
            output_s3_uri=f"{store}/{key}",
            file_size_bytes=(folder / metadata["file"]).stat().st_size,
            metadata=metadata,
            exit_code=0,
            timestamp=timestamp(),
        )

    def failed(self, variables: Variables, id: int, text: str, trace: str | None) -> Payload:
        return ExportCompletionPayload(
            id,
            "failed",
            export_format=variables.text("EXPORT_FORMAT") or None,
            error_message=text,
            traceback=trace,
            exit_code=1,
            timestamp=timestamp(),
        )


_JOB = ExportOperation()


def prepare(variables: Variables, id: int, url: str, mistakes: list[str]) -> PlatformJob:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.prepare(variables, id, url, mistakes)


def run(job: PlatformJob, supervisor: Supervisor) -> int:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.run(job, supervisor)


def failure(variables: Variables, id: int, error: TrainerError, trace: str | None) -> Payload:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.failure(variables, id, error, trace)
