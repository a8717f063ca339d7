"""What predict, evaluate and export jobs have in common.

Each tells the backend that it has begun, runs the ordinary command in a process of its own, uploads what that wrote,
and sends exactly one completion, last. After SIGTERM nothing is sent any more.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainer.checkpoints.pretrained import PREFIX, model_of
from trainer.config.compose import compose
from trainer.core.errors import CheckpointError, ConfigError, TrainerError, UnknownError, of_the_machine
from trainer.core.installation import child_environment
from trainer.core.secrets import mask_text, mask_urls
from trainer.platform import job_environment, job_outcome
from trainer.platform.callbacks import failure_callback
from trainer.platform.callbacks.delivery import Delivery
from trainer.platform.callbacks.payloads import Payload, failure_text
from trainer.platform.callbacks.platform_sink import Failure
from trainer.platform.jobs import PlatformJob
from trainer.platform.settings.coercion import override, shown
from trainer.platform.settings.default_weights import leave_read_only
from trainer.platform.settings.environment_variables import Given, Variables
from trainer.platform.settings.setting_keys import JobFacts, Pair, Reader, SettingKey, SettingRow
from trainer.platform.storage.s3_stores import S3Store, StoreObjectMissing, fetch_uri, local_path
from trainer.platform.supervisor import Supervisor
from trainer.runs.run import run_environment as belonging

PRETRAINED = "pretrained"
UPLOADS = 8
# Shown at the start besides what is mapped.
SHOWN = (
    *("CALLBACK_URL", "TRAINING_JOB_ID", "TASK_TYPE", "MODEL_NAME"),
    *("INTERNAL_STORAGE_ENDPOINT", "EXTERNAL_STORAGE_ENDPOINT"),
)
FLUSH_SECONDS = 120.0
logger = logging.getLogger("trainer")


class Operation(ABC):
    """One kind of job; a module of this folder makes one and has its methods as functions.

    Attributes:
        command: the trainer's command that does the work.
        settings: what CONFIG's keys become.
        appends: the backend adds the completion's rows once more each time it gets it.
    """

    command: str
    appends = False
    settings: tuple[SettingKey, ...]

    @abstractmethod
    def place(self, job: PlatformJob, config: dict[str, Any], reader: Reader, mistakes: list[str]) -> None:
        """Read the variables that only this kind has."""

    @abstractmethod
    def started(self, job: PlatformJob) -> Payload | None:
        """What is told when the work begins; None where there is no route for it."""

    @abstractmethod
    def finished(self, job: PlatformJob) -> Payload:
        """Upload what the command wrote, and say what it found. Raises TrainerError."""

    @abstractmethod
    def failed(self, variables: Variables, id: int, text: str, trace: str | None) -> Payload:
        """The completion of a job that failed."""

    def read(self, config: dict[str, Any], source: str, reader: Reader) -> None:
        """Read CONFIG."""
        reader.drawer(config, (self.settings,), source)

    def command_line(
        self, job: PlatformJob, overrides: list[str], supervisor: Supervisor
    ) -> tuple[Failure | None, str | None]:
        """Run the command; why it failed and its traceback, if it did."""
        report = job.work / "failure.json"
        report.unlink(missing_ok=True)
        overrides, hidden = job_environment.hidden(overrides)
        told = {**belonging({"job": str(job.id)}), job_outcome.REPORT: str(report)}
        environment = {**job.environment, **hidden, **told}
        code = supervisor.run([sys.executable, "-m", "trainer", self.command, *overrides], environment)
        if code == 0:
            return None, None
        failure, trace = job_outcome.failure_of(report, code)
        if not report.exists():  # the command has printed it otherwise
            logger.error("%s: %s", failure.kind, failure.message)
        return failure, trace

    def prepare(self, variables: Variables, id: int, url: str, mistakes: list[str]) -> PlatformJob:
        """What the variables mean, as overrides of the command."""
        environment = child_environment(variables.environment)
        job = PlatformJob(
            variables.kind, id, url, variables, environment, failure_callback.folder_of(variables, id)
        )
        config, source = self._config(variables, mistakes)
        shutil.rmtree(job.work, ignore_errors=True)  # of an earlier attempt
        reader = Reader(JobFacts())
        self._checkpoint(job, config, reader, mistakes)
        self.place(job, config, reader, mistakes)
        self.read(config, source, reader)
        mistakes += reader.mistakes
        job.rows += reader.rows
        job.notes += [f"ignored: {line}" for line in reader.ignored]
        reader.pairs.setdefault("output", str(job.work / "results"))
        job.overrides = [override(key, value) for key, value in reader.pairs.items()]
        for name in SHOWN:
            if given := variables.get(name):
                job.rows.append(SettingRow(given.source, shown(mask_urls(given.value), name), "as it is"))
        if not mistakes:
            try:
                compose(self.command, job.overrides)
            except ConfigError as error:
                mistakes.append(error.message)
        return job

    def run(self, job: PlatformJob, supervisor: Supervisor) -> int:
        """Do it, and see to it that the backend knows how it ended."""
        job.work.mkdir(parents=True, exist_ok=True)
        delivery = Delivery(
            job.work / "callbacks",
            job.url,
            failure_callback.retry(job.variables),
            silent=lambda: supervisor.stop.signum == signal.SIGTERM,
        )
        try:
            if (body := self.started(job)) is not None:
                delivery.tell("started", "started", job.id, body)
                delivery.start()
            code, completion = self._done(job, supervisor)
            if supervisor.stop.signum:
                return 1
            delivery.tell("completion", "results" if self.appends else "completion", job.id, completion)
            delivery.flush(FLUSH_SECONDS)
            why = delivery.outbox.why("completion") or delivery.trouble
            if why != "delivered":
                logger.error("the backend at %s doesn't know how the job ended: %s", mask_urls(job.url), why)
                return 1
            return code
        finally:
            delivery.close()

    def failure(self, variables: Variables, id: int, error: TrainerError, trace: str | None) -> Payload:
        """The completion of a job that didn't come to its work."""
        return self.failed(variables, id, failure_text(error.kind, mask_text(error.message)), trace)

    def _done(self, job: PlatformJob, supervisor: Supervisor) -> tuple[int, Payload]:
        """The exit code and the completion; what goes wrong becomes the latter."""
        try:
            overrides = [self._fetched(job, word) for word in job.overrides]
            failure, trace = self.command_line(job, overrides, supervisor)
            if failure is None:
                return 0, self.finished(job)
        except TrainerError as error:
            failure, trace = Failure(error.kind, error.message), None
            logger.error("%s: %s", error.kind, mask_text(error.message))
        except Exception as error:
            known = of_the_machine(error) or UnknownError(f"{type(error).__name__}: {error}")
            failure, trace = Failure(known.kind, known.message), traceback.format_exc()
            logger.exception("%s", known.kind)
        text = failure_text(failure.kind, mask_text(failure.message))
        return 1, self.failed(job.variables, job.id, text, mask_text(trace) if trace else None)

    def _fetched(self, job: PlatformJob, word: str) -> str:
        """``checkpoint=s3://...`` with the file that was brought.

        Raises:
            CheckpointError: it isn't there.
            NetworkError: the store doesn't answer, or refuses.
        """
        key, _, _ = word.partition("=")
        given = job.variables.text("CHECKPOINT_S3_URI")
        if key != "checkpoint" or not given.startswith("s3://"):
            return word
        try:
            path = fetch_uri(given, job.work / "checkpoint" / Path(given).name)
        except StoreObjectMissing as error:
            raise CheckpointError(error.message) from None
        return override(key, str(path))

    def _config(self, variables: Variables, mistakes: list[str]) -> tuple[dict[str, Any], str]:
        try:
            return variables.config()
        except ConfigError as error:
            mistakes.append(error.message)
            return {}, "CONFIG"

    def _checkpoint(
        self, job: PlatformJob, config: dict[str, Any], reader: Reader, mistakes: list[str]
    ) -> None:
        given = job.variables.get("CHECKPOINT_S3_URI")
        if given is None:
            name = job.variables.named("CHECKPOINT_S3_URI")
            mistakes.append(f"{name} is missing: s3://bucket/key, a file, or the word {PRETRAINED}")
            return
        if not is_pretrained(given.value):
            try:
                path = local_path(given.value)
            except ConfigError as error:
                mistakes.append(error.message)
                return
            value = given.value if path is None else str(path)
            reader.take([("checkpoint", value)], given.source, mask_urls(given.value))
            return
        model = job.variables.get("MODEL_NAME") or said(config, "model_name")
        if model is None:
            mistakes.append(
                f"{given.source}={given.value}: MODEL_NAME (or CONFIG.model_name) has to name the model"
            )
            return
        try:
            published = model_of(model.value)
        except ConfigError as error:
            mistakes.append(f"{model.source}: {error.message}")
            return
        leave_read_only(job.environment, published.base)
        reader.take([("checkpoint", f"{PREFIX}{published.model}")], given.source, given.value)


def is_pretrained(checkpoint: str) -> bool:
    """Whether the published weights of the named model are meant."""
    return checkpoint.strip().lower() == PRETRAINED


def said(config: dict[str, Any], name: str) -> Given | None:
    """A text of CONFIG."""
    value = config.get(name)
    return Given(value.strip(), f"CONFIG.{name}") if isinstance(value, str) and value.strip() else None


def elsewhere(value: Any, facts: JobFacts) -> list[Pair]:
    """A setting that is read in another place."""
    return []


def device(value: Any, facts: JobFacts) -> list[Pair]:
    """``cpu``, or the GPU where there is one."""
    return [("device", "cpu" if str(value).strip().lower().startswith("cpu") else "auto")]


def upload(files: Iterable[tuple[Path, str]]) -> str:
    """Upload files under their keys to the results store, several at a time; returns the ``s3://bucket`` they are in.

    Raises:
        NetworkError: the store doesn't answer, or refuses.
    """
    store = S3Store()
    with ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload") as pool:
        futures = [pool.submit(store.put, path, key) for path, key in files]
        try:
            for future in futures:
                future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # the others would fail alike
    return f"s3://{store.bucket}"
