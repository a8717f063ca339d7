"""Warm trials are processes as cold ones are. Little of it needs torch: most pools here import next to nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EPOCHS, EXPERIMENTS, SHORT
from trainer.core.processes import start_ticks
from trainer.sweep.driver import fork_client
from trainer.sweep.driver.fork_client import ForkClient, ForkedChild
from trainer.sweep.driver.fork_server import NEEDED
from trainer.sweep.driver.trial_process import ColdLauncher

ROOT = Path(__file__).parents[2]
PROBE = "tests.sweep.warm_probe"
PATIENCE = 120.0

pytestmark = pytest.mark.skipif(not fork_client.can_fork(), reason="needs Linux")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def make(modules: tuple[str, ...] | None = (PROBE,), **options: Any) -> ForkClient:
    return ForkClient(modules=modules, program=(sys.executable, "-c", "import sys; sys.exit(7)"), **options)


@pytest.fixture
def pool() -> Iterator[ForkClient]:
    with make() as started:
        yield started


def until(done: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run(pool: ForkClient, folder: Path, *words: str, **env: str) -> int:
    return pool.run(["probe", *words], env, folder / "log").wait(PATIENCE)


def state(pool: ForkClient, folder: Path, cwd: Path | None = None, **env: str) -> dict[str, Any]:
    path = folder / "state.json"
    child = pool.run(["probe", "state", str(path)], env, folder / "log", cwd)
    assert child.wait(PATIENCE) == 0
    return json.loads(path.read_text())


def waiting(pool: ForkClient, folder: Path, *words: str) -> Any:
    """A child that has said that it waits."""
    log = folder / f"{'-'.join(words)[:4]}.log"
    child = pool.run(["probe", *words], {}, log)
    until(lambda: log.is_file() and "waiting" in log.read_text())
    return child


def test_a_child_is_as_a_fresh_process(pool: ForkClient, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    told = state(pool, tmp_path, inside, WARM_A="1", OMP_NUM_THREADS="3")
    assert told["argv"] == ["probe", "state", str(tmp_path / "state.json")]
    assert told["main"] == "trainer.__main__"
    assert told["cwd"] == told["path"] == str(inside)
    assert told["leader"] and told["interrupt"] and told["default"] == [True, True]
    assert (told["blocked"], told["threads"], told["stdin"]) == (0, 1, "/dev/null")
    assert len(told["files"]) <= 4  # 0, 1, 2 and the folder that is being listed
    assert told["environment"] == {"WARM_A": "1", "WARM_B": None, "WARM_LEFT": None}
    assert (tmp_path / "log").read_text() == "said\n"


def test_nothing_that_a_trial_does_reaches_the_next(pool: ForkClient, tmp_path: Path) -> None:
    before = state(pool, tmp_path, WARM_B="x")
    assert run(pool, tmp_path, "disturb") == 3
    after = state(pool, tmp_path, WARM_B="x")
    assert before.pop("random") != after.pop("random")
    assert before == after
    assert (tmp_path / "log").read_text() == "said\nerror\nsaid\n"


def test_two_trials_do_not_draw_the_same(pool: ForkClient, tmp_path: Path) -> None:
    assert state(pool, tmp_path)["random"] != state(pool, tmp_path)["random"]


def test_how_a_child_ended_is_reported_exactly(pool: ForkClient, tmp_path: Path) -> None:
    assert run(pool, tmp_path, "fail") == 1
    assert "RuntimeError: of no trainer's making" in (tmp_path / "log").read_text()
    for signum in (signal.SIGTERM, signal.SIGKILL):
        child = waiting(pool, tmp_path, "wait")
        assert child.poll() is None
        child.signal(signum)
        assert child.wait(PATIENCE) == -signum
        child.signal(signum)  # nothing happens
        (tmp_path / "wait.log").unlink()
    child = waiting(pool, tmp_path, "save", str(tmp_path / "saved"))
    child.signal(signal.SIGTERM)
    assert child.wait(PATIENCE) == 143
    assert (tmp_path / "saved").read_text() == "saved"
    assert pool.alive
    assert run(pool, tmp_path, "disturb") == 3


def test_waiting_has_an_end(pool: ForkClient, tmp_path: Path) -> None:
    child = waiting(pool, tmp_path, "wait")
    with pytest.raises(TimeoutError):
        child.wait(0.05)


def test_threads_and_exit_handlers_are_heeded(pool: ForkClient, tmp_path: Path) -> None:
    assert run(pool, tmp_path, "thread", str(tmp_path)) == 0
    assert (tmp_path / "thread").exists()
    assert (tmp_path / "exit").exists()
    assert (tmp_path / "log").read_text() == "no line feed"


def test_ctrl_c_is_for_the_driver(pool: ForkClient, tmp_path: Path) -> None:
    child = waiting(pool, tmp_path, "wait")
    assert os.getsid(child.pid) == child.pid
    assert pool._process is not None
    os.kill(pool._process.pid, signal.SIGINT)
    assert run(pool, tmp_path, "disturb") == 3
    child.signal(signal.SIGINT)  # and this is meant for the trial
    assert child.wait(PATIENCE) == -signal.SIGINT


def test_children_stop_and_save_when_the_driver_is_gone(tmp_path: Path) -> None:
    pool = make()
    child = waiting(pool, tmp_path, "save", str(tmp_path / "saved"))
    assert pool._socket is not None and pool._process is not None
    pool._socket.close()  # all that the pool's process sees of a driver's death
    pool._socket = None
    assert pool._process.wait(PATIENCE) == 0
    assert (tmp_path / "saved").read_text() == "saved"
    until(lambda: start_ticks(child.pid) is None)
    pool.close()


def test_children_stop_and_save_when_the_pools_process_is_killed(tmp_path: Path) -> None:
    pool = make()
    child = waiting(pool, tmp_path, "save", str(tmp_path / "saved"))
    assert pool._process is not None
    pool._process.kill()
    assert child.wait(PATIENCE) == -signal.SIGTERM
    assert (tmp_path / "saved").read_text() == "saved"
    assert not pool.alive
    pool.close()


def test_a_pool_that_cannot_fork_starts_cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(fork_client.logger, "warning", lambda text, *arguments: told.append(text % arguments))

    def code(pool: ForkClient) -> int | None:
        child = pool.run(["probe", "disturb"], {}, tmp_path / "log")
        until(lambda: child.poll() is not None)
        return child.poll()

    (tmp_path / "warm_broken.py").write_text("raise ImportError('broken')")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    with make(("warm_broken",)) as broken:
        assert code(broken) == 7
    with monkeypatch.context() as other:
        other.setattr(fork_client, "can_fork", lambda: False)
        with make() as none:
            assert code(none) == 7
            assert not none.alive
    with make() as killed:
        assert run(killed, tmp_path, "disturb") == 3
        assert killed._process is not None
        killed._process.kill()
        killed._process.wait()
        assert code(killed) == 7
        assert code(killed) == 7
    assert len(told) == 2  # once each; where nothing can be forked nothing is said
    assert "ImportError: broken" in told[0]
    assert all("trials start cold" in text for text in told)


def test_closing_ends_everything(tmp_path: Path) -> None:
    with make() as pool:
        saving = waiting(pool, tmp_path, "save", str(tmp_path / "saved"))
        process = pool._process
    assert process is not None
    assert process.returncode == 0
    assert saving.poll() == 143
    assert (tmp_path / "saved").exists()


def test_everything_that_is_named_is_there() -> None:
    for name in NEEDED:
        package, _, rest = name.partition(".")
        assert importlib.util.find_spec(package) is not None
        if package == "trainer":
            path = ROOT / package / rest.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file(), name


def test_a_trial_trains_as_a_cold_one(trained_run: Callable[[str], Path], tmp_path: Path) -> None:
    """The same seed, the same metrics; and nothing of one trial in the next with torch and mmengine too."""
    task = "semantic_segmentation"
    cold = json.loads((trained_run(task) / "result.json").read_text())
    words = [f"experiment={EXPERIMENTS[task]}", f"runtime.epochs={EPOCHS[task]}", *SHORT.split()]
    words += ["runtime.device=cpu", "tracking=none", f"output_dir={tmp_path}"]
    with ForkClient(modules=[*NEEDED, "mmseg", PROBE], log=tmp_path / "pool.log") as pool:
        before = state(pool, tmp_path, OMP_NUM_THREADS="2")
        assert before["torch"][0] == 2
        assert not before["cuda"]
        assert run(pool, tmp_path, "disturb") == 3
        child = pool.run(words, {}, tmp_path / "trial.log", ROOT)
        assert child.wait(600) == 0, (tmp_path / "trial.log").read_text()
        after = state(pool, tmp_path, OMP_NUM_THREADS="2")
    assert before.pop("random") != after.pop("random")
    assert before == after
    (result,) = tmp_path.glob("*/*/result.json")
    assert json.loads(result.read_text())["metrics"] == cold["metrics"]
    assert cold["metrics"]["mIoU"] > 0


def test_a_warm_child_is_a_child(pool: ForkClient, tmp_path: Path) -> None:
    """What a driver uses of a cold one is there."""
    child = pool.run(["probe", "disturb"], {}, tmp_path / "log")
    assert isinstance(child, ForkedChild)
    cold = ColdLauncher((sys.executable, "-c", "")).run([], {}, tmp_path / "cold")
    for name in ("pid", "poll", "signal"):
        assert hasattr(cold, name) and hasattr(child, name)
    child.wait(PATIENCE)
    until(lambda: cold.poll() is not None)
