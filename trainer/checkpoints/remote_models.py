"""Models that lie elsewhere: behind a URL, in a store, in MLflow. Imports neither torch nor mlflow at first."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

from trainer.checkpoints import exported_model
from trainer.core.errors import CheckpointError, NetworkError

_MLFLOW = ("models:/", "runs:/", "mlflow-artifacts:/")
_URLS = ("https://", "http://", "s3://")


def is_address(name: str) -> bool:
    """Whether a name is no file of this machine."""
    return name.startswith((*_MLFLOW, *_URLS))


def fetch_model(address: str, output_dir: str | Path = "runs") -> Path:
    """The model of an address as a local file or folder.

    URLs and objects are kept in the cache of weights and asked for again when the server has another one. What comes
    from MLflow is removed when this process ends.

    Args:
        output_dir: where ``mlflow.db`` lies when ``MLFLOW_TRACKING_URI`` isn't set.

    Raises:
        NetworkError: it can't be brought here.
        CheckpointError: it is no model of this trainer.
    """
    if address.startswith(_MLFLOW):
        return _from_mlflow(address, output_dir)
    from trainer.checkpoints.download import fetch_weights

    try:
        return fetch_weights(address)
    except NetworkError as error:  # its last line is about weights to start a training from
        raise NetworkError(str(error).partition("\nor start from")[0]) from None


def _from_mlflow(address: str, output_dir: str | Path) -> Path:
    import mlflow
    from mlflow.exceptions import MlflowException

    from trainer.runs.tracking_uri import scrubbed, tracking_uri, without_credentials
    from trainer.schema import Tracking

    uri = tracking_uri(Tracking(), output_dir)
    folder = Path(tempfile.mkdtemp(prefix="trainer-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)  # models:/ asks the registry, which follows it
    try:
        local = mlflow.artifacts.download_artifacts(
            artifact_uri=address, dst_path=str(folder), tracking_uri=uri
        )
    except (MlflowException, OSError) as error:
        reason = scrubbed(" ".join(str(error).split()))[:300]
        raise NetworkError(
            f"{address} can't be had from MLflow at {without_credentials(uri)}: {reason}"
        ) from None
    finally:
        mlflow.set_tracking_uri(before)
    return _checkpoint_in(Path(local), address)


def _checkpoint_in(path: Path, address: str) -> Path:
    """The file in what was downloaded: a file itself, the checkpoint of a logged model, or an export's folder."""
    if path.is_file() or exported_model.is_folder(path):
        return path
    described = _described(path / "MLmodel")
    if described is not None and (path / described).is_file():
        return path / described
    for name in ("best.pth", "last.pth"):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{address} is no model that was logged by this trainer")


def _described(file: Path) -> str | None:
    import yaml

    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        return str(content["flavors"]["python_function"]["artifacts"]["checkpoint"]["path"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None
