"""Storages by URL, and drivers that share one without sharing a folder."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweep import mariadb, postgres
from tests.sweep.drivers import Drivers, wait_for
from tests.sweep.test_main import LR, rows, training
from trainer.core.errors import ConfigError
from trainer.sweep.stores import optuna_storage
from trainer.sweep.stores.optuna_storage import open_storage, study_names

SERVER = """
import sys, optuna
from trainer.sweep.stores.optuna_storage import open_storage
optuna.storages.run_grpc_proxy_server(open_storage(sys.argv[1], None), host="127.0.0.1", port=int(sys.argv[2]))
"""


@pytest.fixture(scope="module", params=["PostgreSQL", "MariaDB"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    kind, driver = {"PostgreSQL": (postgres, "psycopg"), "MariaDB": (mariadb, "pymysql")}[request.param]
    pytest.importorskip(driver, reason=f"{request.param}'s driver ({driver}) isn't installed")
    try:
        with kind.server() as url:
            yield url
    except postgres.Missing as reason:
        pytest.skip(str(reason))


def counted(url: str) -> Counter[str]:
    storage = open_storage(url, Path())
    (study,) = [study for study in storage.get_all_studies() if study.study_name == "shared"]
    trials = storage.get_all_trials(study._study_id)
    return Counter(trial.state.name for trial in trials if not trial.user_attrs.get("withdrawn"))


def test_two_drivers_share_a_database_and_one_is_killed(
    drivers: Drivers, database: str, tmp_path: Path
) -> None:
    """Each with a folder of its own, as on two machines; the trials in all are those that were asked for."""
    words = ["sweep=optuna", LR, "sweep.n_trials=8", "sweep.study=shared", "sweep.sampler=random"]
    words += ["sweep.lease_seconds=2", f"sweep.storage={database}"]
    slow = drivers.start(tmp_path / "a", *words, TOY_SECONDS="30")
    wait_for(lambda: len(training(tmp_path / "a")) == 2, slow)
    both = [drivers.start(tmp_path / name, *words, TOY_SECONDS="0.05") for name in "bc"]
    wait_for(lambda: all("begins" in driver.output or driver.poll() is not None for driver in both))
    slow.kill()
    assert [driver.wait() for driver in both] == [0, 0], "\n".join(driver.output for driver in both)
    assert counted(database) == {"COMPLETE": 8}
    for name in "bc":
        assert [row["state"] for row in rows(tmp_path / name)] == ["complete"] * 8
    told = "".join(path.read_text() for path in tmp_path.glob("*/sweeps/*/*.json*"))
    told += "".join(driver.output for driver in (slow, *both))
    assert "a-secret-password" not in told and "***@127.0.0.1" in told


def test_a_proxy_serves_drivers_without_the_database(drivers: Drivers, tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason="grpcio isn't installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"sqlite:///{tmp_path / 'db' / 'sweeps.db'}"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, url, str(port)], env={"PYTHONPATH": str(Path(__file__).parents[2])}
    )
    try:
        words = ["sweep=optuna", LR, "sweep.n_trials=3", "sweep.study=shared"]
        driver = drivers.run(tmp_path, *words, f"sweep.storage=grpc://127.0.0.1:{port}")
        assert driver.poll() == 0, driver.output
        assert counted(url) == {"COMPLETE": 3}
        again = drivers.run(tmp_path, *words, f"sweep.storage={url}")
        assert again.poll() == 0 and "begins" not in again.output
    finally:
        server.kill()
        server.wait()


def test_a_storage_that_is_away_for_a_while_is_waited_for(drivers: Drivers, tmp_path: Path) -> None:
    """The trials go on, and what they did is told when it is back."""
    folder, away = tmp_path / "db", tmp_path / "away"
    url = f"sqlite:///{folder / 'sweeps.db'}"
    words = ["sweep=optuna", LR, "sweep.n_trials=2", "sweep.study=shared", f"sweep.storage={url}"]
    gate = tmp_path / "gate"
    driver = drivers.start(tmp_path, *words, TOY_GATE=str(gate))
    wait_for(lambda: len(training(tmp_path)) == 2, driver)
    folder.rename(away)
    folder.write_text("no folder")
    gate.touch()
    wait_for(lambda: "doesn't answer" in driver.output, driver)
    wait_for(lambda: len(list(tmp_path.glob("toy/*/result.json"))) == 2, driver)
    folder.unlink()
    away.rename(folder)
    assert driver.wait() == 0, driver.output
    assert counted(url) == {"COMPLETE": 2}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres", "sweep.storage=postgres"),
        ("nosuch://host/db", "nosuch"),
        ("grpc://host", "expected grpc://host:port"),
        ("oracle://me:secret@host/db", "pip install "),
    ],
)
def test_a_wrong_url_is_one_line(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_storage(url, tmp_path / "journal.log")
    assert words in caught.value.message and "secret" not in caught.value.message
    assert "\n" not in caught.value.message


def test_a_url_without_a_driver_gets_the_one_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"psycopg2", "MySQLdb"}
    monkeypatch.setattr(optuna_storage, "find_spec", lambda name: None if name in missing else name)
    named = optuna_storage.with_driver
    assert named("postgresql://me@host/db") == "postgresql+psycopg://me@host/db"
    assert named("mysql://me@host/db") == "mysql+pymysql://me@host/db"
    assert named("mysql+asyncmy://me@host/db") == "mysql+asyncmy://me@host/db"
    missing.clear()
    assert named("mysql://me@host/db") == "mysql://me@host/db"


def test_a_database_file_is_made_with_its_folder(tmp_path: Path) -> None:
    assert study_names(open_storage(f"sqlite:///{tmp_path}/a/b/sweeps.db", tmp_path)) == []
    assert (tmp_path / "a" / "b" / "sweeps.db").is_file()
