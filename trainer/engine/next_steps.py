"""What one can type after a run."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from trainer.config.schema import Experiment
from trainer.run import Run


def next_steps(exp: Experiment, run: Run) -> list[tuple[str, str]]:
    """(what, command) pairs."""
    choice = f"task={exp.task.name} dataset={exp.dataset.name}"
    return [
        *_tracker(exp),
        ("another model", f"python -m trainer model=<name> {choice}"),
        ("a sweep", f"python -m trainer -m model={exp.model.name} {choice} optimizer.lr=0.0005,0.001,0.002"),
        ("predictions", f"python -m trainer predict checkpoint={short(run.dir)}"),
        ("export", f"python -m trainer export checkpoint={short(run.dir)}"),
    ]


def resume_command(run: Run) -> str:
    return f"python -m trainer resume={short(run.dir)}"


def short(path: Path) -> str:
    """``path`` relative to the current folder where that is inside it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _tracker(exp: Experiment) -> list[tuple[str, str]]:
    if exp.tracking.name != "mlflow":
        return []
    uri = exp.tracking.uri or f"sqlite:///{exp.output_dir}/mlflow.db"
    if uri.startswith(("http://", "https://")):
        parts = urlsplit(uri)
        host = parts.netloc.rpartition("@")[2]  # without a user's name and password
        return [("compare runs", urlunsplit((parts.scheme, host, parts.path, "", "")))]
    return [("compare runs", f"mlflow ui --backend-store-uri {uri}")]
