"""A training job: the platform's variables as the ordinary ``python -m trainer``, in a process of its own.

What that process leaves, also when it is killed, is told by the sink that follows its events; what fails before there
are any is told here. Exactly one completion is sent, and nothing after SIGTERM.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from trainer.config.compose import compose
from trainer.config.run_directory import experiment_name
from trainer.core.errors import ConfigError, TrainerError
from trainer.core.installation import child_environment
from trainer.core.secrets import mask_text, mask_urls
from trainer.platform import job_environment, job_outcome, job_run
from trainer.platform.callbacks import failure_callback
from trainer.platform.callbacks.payloads import CompletionPayload, Payload, failure_text
from trainer.platform.jobs import PlatformJob
from trainer.platform.settings.coercion import override, shown
from trainer.platform.settings.config_json import is_backend, read_settings, settle
from trainer.platform.settings.datasets import find_dataset, split_of
from trainer.platform.settings.default_weights import leave_read_only, usual_weights
from trainer.platform.settings.environment_variables import Given, Variables
from trainer.platform.settings.setting_keys import JobFacts, Reader, SettingKey, SettingRow
from trainer.platform.settings.task_names import task_of
from trainer.platform.storage.s3_stores import local_path
from trainer.platform.supervisor import Supervisor
from trainer.runs.run import run_environment as belonging
from trainer.schema import Experiment
from trainer.schema.conf_folders import Conf
from trainer.zoo.model_names import ModelNames

CALLBACKS = (
    SettingKey("CALLBACK_MAX_RETRIES", "callback.max_retries", type="int", low=0),
    SettingKey("CALLBACK_RETRY_DELAY", "callback.retry_delay", type="float", low=0),
    SettingKey("CALLBACK_INTERVAL", "callback.interval", type="int", low=1),
)
# Shown at the start besides what is mapped: what else steers the job.
SHOWN = (
    *("EXTERNAL_STORAGE_ENDPOINT", "EXTERNAL_BUCKET_DATASETS", "INTERNAL_STORAGE_ENDPOINT"),
    *(
        "INTERNAL_BUCKET_CHECKPOINTS",
        "S3_ENDPOINT",
        "SNAPSHOT_ID",
        "DATASET_VERSION_HASH",
        "DATASET_CACHE_DIR",
    ),
    *(
        "DATASET_CACHE_MAX_GB",
        "MODEL_WEIGHTS_DIR",
        "TRAINER_WEIGHTS",
        "MLFLOW_TRACKING_URI",
        "RESUME",
        "WORK_DIR",
    ),
    "FRAMEWORK",
)
_LISTED = re.compile(r"\n  \d+\. ")


def prepare(variables: Variables, id: int, url: str, mistakes: list[str]) -> PlatformJob:
    """The training that the variables mean."""
    environment = child_environment(variables.environment)
    job = PlatformJob("train", id, url, variables, environment, failure_callback.folder_of(variables, id))
    config, source = _config(variables, mistakes)
    model, task = _model_and_task(variables, config, job, mistakes)
    reader = Reader(JobFacts(task, is_backend(config)))
    _data(variables, reader, mistakes)
    read_settings(variables, config, source, reader)
    for key in CALLBACKS:
        if given := variables.get(key.name):
            reader.setting(key, given.value, given.source)
    settle(reader, task)
    _weights(reader, variables)
    _gpu(job, config, variables)
    mistakes += reader.mistakes
    wanted = reader.pairs.pop("dataset.split_file", None)
    if not mistakes:
        _split(job, reader, wanted)
    job.rows += reader.rows
    job.notes = [f"ignored: {line}" for line in reader.ignored]
    pairs = {"tracking": _tracking(variables), **reader.pairs, "task": task, "model": model, **_fixed(job)}
    job.overrides = [override(key, value) for key, value in pairs.items()]
    if not mistakes:
        exp = _composed(job, reader, mistakes)
        if exp is not None:
            _go_on(job, exp, reader)
    return job


def run(job: PlatformJob, supervisor: Supervisor) -> int:
    """Train in a process of its own, and see to it that the backend knows how that ended."""
    overrides, hidden = job_environment.hidden(job.overrides)
    environment = {**job.environment, **hidden, **belonging({"job": str(job.id)})}
    watch = job_outcome.OutcomeWatch(job)
    environment[job_outcome.REPORT] = str(watch.report)
    code = supervisor.run([sys.executable, "-m", "trainer", *overrides], environment, watch.stopped)
    return watch.settle(code, supervisor)


def failure(variables: Variables, id: int, error: TrainerError, trace: str | None) -> Payload:
    """The completion of a job that didn't come to training."""
    text = failure_text(error.kind, mask_text(error.message))
    return CompletionPayload(id, "failed", 0, error_message=text, traceback=trace, exit_code=1)


def _config(variables: Variables, mistakes: list[str]) -> tuple[dict[str, Any], str]:
    try:
        return variables.config()
    except ConfigError as error:
        mistakes.append(error.message)
        return {}, "CONFIG"


def _model_and_task(
    variables: Variables, config: dict[str, Any], job: PlatformJob, mistakes: list[str]
) -> tuple[str, str]:
    """Our names of both; those in CONFIG count where the variables are missing."""
    model, word = _said(variables, "MODEL_NAME", config), _said(variables, "TASK_TYPE", config)
    models, able, choice = ModelNames(Conf()), list[str](), ""
    if model is None:
        mistakes.append(f"{variables.named('MODEL_NAME')} is missing: the model, such as rtmdet-s")
    else:
        try:
            choice = models.resolve(model.value)
            able = models.tasks(choice)
        except ConfigError as error:
            mistakes.append(f"{model.source}: {error.message}")
    task = able[0] if able else "detection"
    if word is not None:
        try:
            task = task_of(word.value, able)
        except ConfigError as error:
            mistakes.append(error.message)
    if model is not None and choice:
        choice = models.resolve(model.value, task)  # some names stand for several models
        job.rows.append(SettingRow(model.source, model.value, f"model={choice}"))
    job.rows.append(
        SettingRow(word.source if word else "TASK_TYPE", word.value if word else "", f"task={task}")
    )
    return choice, task


def _said(variables: Variables, name: str, config: dict[str, Any]) -> Given | None:
    value = config.get(name.lower())
    written = (
        Given(value.strip(), f"CONFIG.{name.lower()}") if isinstance(value, str) and value.strip() else None
    )
    return variables.get(name) or written


def _data(variables: Variables, reader: Reader, mistakes: list[str]) -> None:
    try:
        place = find_dataset(variables)
    except ConfigError as error:
        mistakes.append(error.message)
    else:
        reader.take(place.pairs, place.source, place.note or mask_urls(variables.text(place.source)))


def _split(job: PlatformJob, reader: Reader, wanted: Any) -> None:
    pairs, said = split_of(wanted, job.variables, job.work)
    if pairs:
        reader.take(pairs, said, wanted or "")


def _weights(reader: Reader, variables: Variables) -> None:
    """PRETRAINED_WEIGHT_URL where CONFIG says nothing; a ``file://`` as the path that it names."""
    if given := variables.get("PRETRAINED_WEIGHT_URL"):
        reader.take([("model.weights", given.value)], given.source, given.value)
    weights = reader.pairs.get("model.weights")
    if isinstance(weights, str) and weights.lower().startswith("file://"):
        try:
            reader.change("model.weights", str(local_path(weights)))
        except ConfigError as error:
            reader.mistakes.append(error.message)


def _gpu(job: PlatformJob, config: dict[str, Any], variables: Variables) -> None:
    """``DEVICE=1`` means the second GPU."""
    basic = config.get("basic")
    said = (
        variables.text("DEVICE")
        or config.get("device")
        or (basic.get("device") if isinstance(basic, dict) else "")
    )
    found = re.fullmatch(r"(?:cuda:|gpu:)?(\d+)(?:\s*,.*)?", str(said).strip().lower())
    if found and found[1] != "0" and "CUDA_VISIBLE_DEVICES" not in job.environment:
        job.environment["CUDA_VISIBLE_DEVICES"] = found[1]


def _tracking(variables: Variables) -> str:
    return "mlflow" if variables.get("MLFLOW_TRACKING_URI") else "none"


def _fixed(job: PlatformJob) -> dict[str, Any]:
    """What no setting changes, and the rows that say so."""
    address = job.variables.get("CALLBACK_URL")
    number = job.variables.get("JOB_ID")
    if address and job.url:
        job.rows.append(
            SettingRow(address.source, mask_urls(address.value), f"callback.url={mask_urls(job.url)}")
        )
    if number and job.id:
        job.rows.append(SettingRow(number.source, number.value, f"callback.job_id={job.id}"))
    for name in SHOWN:
        if given := job.variables.get(name):
            job.rows.append(SettingRow(given.source, shown(given.value, name), "as it is"))
    return {
        "callback": "platform",
        "callback.url": job.url,
        "callback.job_id": job.id,
        "output_dir": str(job.work / "runs"),
    }


def _composed(job: PlatformJob, reader: Reader, mistakes: list[str]) -> Experiment | None:
    """The configuration as the training will compose it; what is wrong with it, by the names that were given."""
    try:
        return compose("train", job.overrides)[0]  # type: ignore[no-any-return]
    except ConfigError as error:
        first, *others = _LISTED.split(error.message)
        for line in others or [first]:
            key = line.partition("=")[0].partition(" ")[0]
            source = reader.sources.get(key) or {"model": "MODEL_NAME", "task": "TASK_TYPE"}.get(key)
            mistakes.append(f"{line} (from {source})" if source else line)
        return None


def _go_on(job: PlatformJob, exp: Experiment, reader: Reader) -> None:
    """The run: one that was begun before, or a new one, with the weights that it starts from."""
    found = job_run.find(job, exp, experiment_name(exp))
    job.overrides.append(override("id", found.id))
    job.run_dir = found.dir
    if found.exists:
        job.overrides.append("resume=auto")
        job.notes.append(f"the job goes on with run {found.id}")
        if "model.weights" not in reader.pairs and (word := job_run.weights_of(found)):
            job.overrides.append(override("model.weights", word))
        return
    leave_read_only(job.environment, exp.model.base)
    if "model.weights" not in reader.pairs:
        word, note = usual_weights(exp.model.base)
        job.overrides.append(override("model.weights", word))
        job.notes.append(note)
