"""The environment that the set-up fills: its key and stamp, its lock, its making and its repair."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Environment:
    """A venv folder, or the environment of the running Python (``own`` is False: never made or removed)."""

    folder: Path
    dev: bool = True
    own: bool = True

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python" if self.own else Path(sys.executable)

    @property
    def log(self) -> Path:
        return self.folder / "setup.log"

    @property
    def stamp(self) -> Path:
        return self.folder / "setup.stamp"

    @property
    def lock(self) -> Path:
        return self.folder.with_name(self.folder.name + ".lock") if self.own else self.folder / "setup.lock"


def key(env: Environment, root: Path = ROOT) -> str:
    """What a finished environment depends on: the lists, the builder, Python, platform and place."""
    files = [*sorted((root / "scripts" / "setup").glob("*.txt")), root / "scripts/setup/mmcv_build.py"]
    files.append(root / "pyproject.toml")
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes() if path.exists() else b"-")
    version = ".".join(map(str, sys.version_info[:2]))
    parts = [version, platform.system(), platform.machine(), str(root), digest.hexdigest()[:16]]
    return " ".join([*parts, "dev" if env.dev else "run"])


def is_complete(env: Environment, root: Path = ROOT) -> bool:
    """Whether the stamp, written last, is there and says what we would write now.

    One made with the development tools serves a run without them too.
    """
    if not env.stamp.exists() or not env.python.exists():
        return False
    stamp = env.stamp.read_text(encoding="utf-8").strip()
    return stamp in {key(env, root), key(Environment(env.folder, True, env.own), root)}


def finish(env: Environment, root: Path = ROOT) -> None:
    """Write the stamp, whole or not at all."""
    draft = env.stamp.with_suffix(".draft")
    draft.write_text(key(env, root) + "\n", encoding="utf-8")
    os.replace(draft, env.stamp)


@contextlib.contextmanager
def locked(env: Environment, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the environment for one set-up at a time; a second one waits."""
    env.lock.parent.mkdir(parents=True, exist_ok=True)
    with env.lock.open("w") as handle:
        # Handed on to pip and the compilers: should this process be killed, the lock lasts until they end.
        os.set_inheritable(handle.fileno(), True)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work on this environment: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def make(env: Environment) -> str:
    """Make the venv, or repair one that was left half-made; return what was done, in words."""
    env.stamp.unlink(missing_ok=True)
    if not env.own:
        return "using the environment of " + sys.executable
    sound = _is_sound(env)
    if not sound:
        existed = env.folder.exists()
        shutil.rmtree(env.folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(env.folder)], check=True, stdout=subprocess.DEVNULL)
        return "made the environment anew, it was broken" if existed else "made the environment"
    dropped = drop_half_installed(env.folder)
    return "reusing the environment" + (f", {dropped} half-installed packages dropped" if dropped else "")


def drop_half_installed(folder: Path) -> int:
    """Forget packages whose installation was cut short, so that pip installs them again.

    pip writes RECORD last; without it pip would take the package for installed.
    """
    count = 0
    for info in folder.glob("lib/python*/site-packages/*.dist-info"):
        if not (info / "RECORD").exists():
            shutil.rmtree(info)
            count += 1
    return count


def _is_sound(env: Environment) -> bool:
    """Whether the venv's Python is ours in version and has a working pip."""
    code = "import pip, sys; print('%d.%d' % sys.version_info[:2])"
    if not env.python.exists():
        return False
    done = subprocess.run([str(env.python), "-c", code], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() == "{}.{}".format(*sys.version_info[:2])
