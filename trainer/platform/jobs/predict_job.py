"""An inference job: images of a prefix in, annotated pictures, labels and predictions.json out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write, move_into_place
from trainer.core.errors import ConfigError, FrameworkError, TrainerError
from trainer.core.secrets import mask_urls
from trainer.platform.callbacks.payloads import (
    InferenceCompletionPayload,
    InferenceResultPayload,
    InferenceStartedPayload,
    Payload,
    timestamp,
)
from trainer.platform.callbacks.prediction_payload import as_predictions
from trainer.platform.jobs import PlatformJob
from trainer.platform.jobs.operation import Operation, device, elsewhere, upload
from trainer.platform.settings.coercion import READ
from trainer.platform.settings.environment_variables import Variables
from trainer.platform.settings.setting_keys import Reader, SettingKey
from trainer.platform.storage.s3_stores import local_path
from trainer.platform.supervisor import Supervisor

USUAL_CONF = 0.25
THREADS = 4  # that put pictures into the images' own formats


SETTINGS = (
    SettingKey(
        "conf",
        "threshold",
        f"`threshold`; without it {USUAL_CONF}",
        type="float",
        low=0,
        high=1,
        aliases=("confidence_threshold", "threshold"),
    ),
    SettingKey("iou", "nms_iou", type="float", low=0, above=True, high=1, aliases=("iou_threshold",)),
    SettingKey("max_det", "max_detections", type="int", low=1, aliases=("max_detections",)),
    SettingKey("batch", "batch_size", type="int", low=1, aliases=("batch_size",)),
    SettingKey("device", device, "`device`: cpu, or the GPU where there is one", type="text", sample="0"),
    SettingKey("save_txt", "labels", type="bool"),
    SettingKey("save_conf", elsewhere, "whether lines of labels end with the score", type="bool"),
    SettingKey("save_crop", None, "pictures are annotated whole"),
    SettingKey(
        "imgsz", None, "images get the size that the model was validated with", aliases=("image_size",)
    ),
    SettingKey("task_type", None, "the checkpoint says its task"),
    SettingKey(
        "model_name", None, "the checkpoint says its model; with CHECKPOINT_S3_URI=pretrained it names one"
    ),
    SettingKey("tile", "tile", type="int", low=32),
    SettingKey("tta", "tta", type="bool", aliases=("augment",)),
    SettingKey("half", "half", type="bool", aliases=("fp16",)),
)


class PredictOperation(Operation):
    command = "predict"
    appends = True
    settings = SETTINGS

    def place(self, job: PlatformJob, config: dict[str, Any], reader: Reader, mistakes: list[str]) -> None:
        given = job.variables.get("IMAGES_S3_URI")
        if given is None:
            mistakes.append(
                f"{job.variables.named('IMAGES_S3_URI')} is missing: s3://bucket/prefix, file:///folder or a folder"
            )
            return
        try:
            path = local_path(given.value)
        except ConfigError as error:
            mistakes.append(error.message)
            return
        value = given.value if path is None else str(path)
        pairs = [("source", value), ("on_error", "skip")]
        reader.take(pairs, given.source, mask_urls(given.value))

    def read(self, config: dict[str, Any], source: str, reader: Reader) -> None:
        super().read(config, source, reader)
        reader.pairs.setdefault("threshold", USUAL_CONF)

    def started(self, job: PlatformJob) -> Payload:
        return InferenceStartedPayload(job.id, timestamp=timestamp())

    def finished(self, job: PlatformJob) -> Payload:
        folder = job.work / "results"
        results = list(self._results(job, folder))
        seconds = [one.inference_time_ms for one in results if one.error is None]
        average = sum(seconds) / len(seconds) if seconds else 0.0
        listing = {
            "total_images": len(results),
            "total_detections": sum(one.num_detections or 0 for one in results),
            "avg_inference_time_ms": round(average, 3),
            "results": [one.content() for one in results],
        }
        file = atomic_write(folder / "platform" / "predictions.json", json.dumps(listing, ensure_ascii=False))
        return InferenceCompletionPayload(
            job.id,
            "completed",
            total_images=len(results),
            total_inference_time_ms=round(sum(seconds), 3),
            avg_inference_time_ms=round(average, 3),
            results=results,
            result_urls=self._uploaded(job, folder, file),
            exit_code=0,
            timestamp=timestamp(),
        )

    def failed(self, variables: Variables, id: int, text: str, trace: str | None) -> Payload:
        return InferenceCompletionPayload(
            id, "failed", error_message=text, traceback=trace, exit_code=1, timestamp=timestamp()
        )

    def _results(self, job: PlatformJob, folder: Path) -> Iterator[InferenceResultPayload]:
        """One an image, in order; the annotated picture gets the image's own name."""
        try:
            content = json.loads((folder / "predictions.json").read_bytes())
        except (OSError, ValueError) as error:
            raise FrameworkError(f"the predictions can't be read: {error}") from None
        scores = _scores(job)
        taken: set[str] = set()
        for entry in content["images"]:
            name = Path(entry["file"]).name
            if "error" in entry:
                yield InferenceResultPayload(
                    entry["file"][-500:], name, error=entry["error"], num_detections=0
                )
                continue
            found = as_predictions(entry, content)
            _label(folder, entry, name, scores, taken)
            yield InferenceResultPayload(
                entry["file"][-500:], name, found, float(entry["milliseconds"]), num_detections=len(found)
            )
        _pictures(folder, [entry for entry in content["images"] if "picture" in entry])

    def _uploaded(self, job: PlatformJob, folder: Path, file: Path) -> dict[str, str]:
        prefix = f"inference-results/{job.id}"
        files = [(file, f"{prefix}/predictions.json")]
        for kind in ("images", "labels"):
            files += [(path, f"{prefix}/{kind}/{path.name}") for path in sorted((folder / kind).glob("*"))]
        store = upload(files)
        urls = {
            "predictions_json": f"{store}/{prefix}/predictions.json",
            "annotated_images_prefix": f"{store}/{prefix}/images/",
        }
        return urls | ({"labels_prefix": f"{store}/{prefix}/labels/"} if (folder / "labels").is_dir() else {})


def _scores(job: PlatformJob) -> bool:
    """Whether labels have scores: ``save_conf``, true unless it is said."""
    said = job.variables.config()[0].get("save_conf")
    return True if said is None else bool(READ["bool"](said))


def _pictures(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """``images/<name>`` of each image: the backend finds it by the name of the object that it shows.

    Of several images of one name, from sub-folders, the first has it.
    """
    (folder / "images").mkdir()
    taken: set[str] = set()
    pairs: list[tuple[Path, Path]] = []
    for entry in entries:
        drawn, name = folder / entry["picture"], Path(entry["file"]).name
        if name in taken:
            name = f"{drawn.stem}{Path(name).suffix}"
        taken.add(name)
        pairs.append((drawn, folder / "images" / name))
    with ThreadPoolExecutor(THREADS, thread_name_prefix="pictures") as pool:
        for _ in pool.map(lambda pair: _as(*pair), pairs):
            pass


def _as(drawn: Path, target: Path) -> None:
    """Move a picture, into another format where ``target`` has one."""
    kind = target.suffix.lower()
    if drawn.suffix == kind:
        move_into_place(drawn, target, flush=False)
        return
    import cv2

    picture: Any = cv2.imread(str(drawn))
    atomic_write(target, cv2.imencode(kind, picture)[1].tobytes())
    drawn.unlink()


def _label(folder: Path, entry: dict[str, Any], name: str, scores: bool, taken: set[str]) -> None:
    """``labels/<stem of name>.txt``, without the score at each line's end where they aren't wanted."""
    drawn = folder / "labels" / f"{Path(entry['picture']).stem}.txt"
    if not drawn.is_file():
        return
    lines = drawn.read_text(encoding="utf-8").splitlines()
    if not scores:
        lines = [line.rpartition(" ")[0] for line in lines]
    own = drawn.with_name(f"{Path(name).stem}.txt")
    target = drawn if own.name in taken else own
    taken.add(target.name)
    if target != drawn:
        drawn.unlink()
    atomic_write(target, "".join(f"{line}\n" for line in lines))


_JOB = PredictOperation()


def prepare(variables: Variables, id: int, url: str, mistakes: list[str]) -> PlatformJob:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.prepare(variables, id, url, mistakes)


def run(job: PlatformJob, supervisor: Supervisor) -> int:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.run(job, supervisor)


def failure(variables: Variables, id: int, error: TrainerError, trace: str | None) -> Payload:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.failure(variables, id, error, trace)
