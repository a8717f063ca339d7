"""A run's log becomes callbacks and uploads: with a real backend and a real S3 server, without a training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.platform.contract import check_sequence
from tests.platform.made_up import EPOCHS, Story, append, attempt, make_run
from tests.platform.receiver import first, wait_for
from trainer.commands.replay import ReplayOptions
from trainer.commands.replay import main as replay
from trainer.core.errors import ConfigError, NetworkError
from trainer.platform.callbacks import sink_process, sink_state
from trainer.platform.callbacks.platform_sink import Failure
from trainer.platform.callbacks.sink_process import sync
from trainer.platform.callbacks.sink_state import PlatformSinkState
from trainer.schema import Callback

ROOT = Path(__file__).parents[2]
BEST, LAST = (f"s3://training-checkpoints/checkpoints/42/{name}.pt" for name in ("best", "last"))


@pytest.fixture
def run(tmp_path, backend):
    return make_run(tmp_path, backend.address, upload=False)


@pytest.fixture
def uploading(tmp_path, backend, s3_store):
    return make_run(tmp_path, backend.address)


def sequence(backend):
    return [(one.path, one.body) for one in backend.taken]


def completions(backend):
    return backend.of("completion")


def test_a_whole_job_fits_the_contract_and_telling_it_again_says_nothing(run, backend):
    append(run, Story().whole().events)
    assert sync(run).error is None
    assert check_sequence(sequence(backend), EPOCHS) == []
    (end,) = completions(backend)
    assert (end["status"], end["exit_code"], end["total_epochs_completed"]) == ("completed", 0, 3)
    assert (end["best_epoch"], end["best_metrics"]["accuracy"]) == (3, pytest.approx(0.3))
    assert end["final_metrics"]["loss"] == 1.0
    assert end["total_duration_seconds"] == 60.0
    assert "best_checkpoint_path" not in end
    before = len(backend.requests)
    assert sync(run).error is None
    assert len(backend.requests) == before


def test_a_failure_has_its_kind_and_its_masked_traceback(run, backend):
    error = {"type": "ResourceError", "message": "the GPU's memory is full"}
    trace = "Traceback ...\n  url = 'https://me:hunter2@host'\nOutOfMemoryError"
    append(run, Story().started().whole_epoch(1).ended("failed", error=error, traceback=trace).events)
    assert sync(run).error is None
    (end,) = completions(backend)
    assert (end["status"], end["exit_code"], end["total_epochs_completed"]) == ("failed", 1, 1)
    assert end["error_message"] == "[ResourceError] the GPU's memory is full"
    assert "OutOfMemoryError" in end["traceback"]
    assert "hunter2" not in end["traceback"]


def test_a_process_that_was_killed_is_reported_once(run, backend):
    append(run, Story().started().whole_epoch(1).epoch(2).events)
    attempt(run, alive=False)
    failure = Failure("ResourceError", "the training process was killed by SIGKILL", 1)
    assert sync(run, failure=failure).error is None
    assert sync(run).error is None
    (end,) = completions(backend)
    assert end["error_message"] == "[ResourceError] the training process was killed by SIGKILL"
    assert [body["current_epoch"] for body in backend.rows] == [1, 2]


def test_a_resumed_job_repeats_no_row(run, backend):
    story = Story().started().whole_epoch(1).whole_epoch(2)
    append(run, story.events)
    attempt(run, alive=False)
    assert sync(run).error is None
    told = len(story.events)
    story.resumed(1).whole_epoch(2).whole_epoch(3).ended()
    append(run, story.events[told:])
    assert sync(run).error is None
    assert [body["current_epoch"] for body in backend.rows] == [1, 2, 3]
    assert [body["epoch"] for body in backend.of("results")] == [1, 2, 2, 3]
    assert [body["status"] for body in completions(backend)] == ["failed", "completed"]
    bare = [body["current_epoch"] for body in backend.of("progress") if "metrics" not in body]
    assert bare == [0, 1]


def test_an_end_that_nobody_heard_of_is_no_end_where_the_job_goes_on(run, backend):
    story = Story().started().whole_epoch(1)
    append(run, story.events)
    attempt(run, alive=False)
    backend.stop()
    assert sync(run, seconds=0.2).error
    backend.start()
    told = len(story.events)
    story.resumed(1).whole_epoch(2).whole_epoch(3).ended()
    append(run, story.events[told:])
    assert sync(run).error is None
    assert [body["current_epoch"] for body in backend.rows] == [1, 2, 3]
    assert [body["status"] for body in completions(backend)] == ["completed"]


def test_an_attempt_that_dies_before_its_first_event_is_told_whatever_the_one_before_has_said(run, backend):
    append(run, Story().started().whole_epoch(1).ended("cancelled", signal="SIGTERM").events)
    attempt(run, alive=False)
    begun = sink_state.load(run)
    begun.since = time.time()  # as an attempt's start does
    sink_state.save(run, begun)
    for _ in range(2):
        assert sync(run, failure=Failure("ResourceError", "killed")).error is None
    (end,) = completions(backend)
    assert (end["status"], end["error_message"]) == ("failed", "[ResourceError] killed")


def test_sigterm_is_followed_by_silence_until_the_job_goes_on(uploading, backend, s3_store):
    story = Story().started().whole_epoch(1).epoch(2)
    story.ended("cancelled", signal="SIGTERM", saved="checkpoints/last.pth")
    append(uploading, story.events[:-2])
    backend.mode = lambda request: 503
    assert "wait" in sync(uploading, seconds=0.2).error
    sink_state.silence(uploading.dir)
    backend.mode = lambda request: 200
    append(uploading, story.events[-2:])
    assert sync(uploading).error is None
    assert backend.taken == []
    assert s3_store()["checkpoints/42/last.pt"] == b"last weights"

    told = len(story.events)
    sink_state.speak(uploading.dir)  # as an attempt's start does
    story.resumed(2).validation(2).curves(2).whole_epoch(3).ended()
    append(uploading, story.events[told:])
    assert sync(uploading).error is None
    assert [body["current_epoch"] for body in backend.rows] == [1, 2, 3]
    assert backend.taken[-1].route == "completion"
    assert completions(backend)[-1]["status"] == "completed"


def test_the_event_of_a_sigterm_silences_too(run, backend):
    append(run, Story().started().whole_epoch(1).ended("cancelled", signal="SIGTERM").events)
    assert sync(run).error is None
    assert completions(backend) == []
    assert sink_state.is_silent(run.dir)


def test_ctrl_c_is_told_since_nobody_else_knows(run, backend):
    append(run, Story().started().whole_epoch(1).ended("cancelled", signal="SIGINT").events)
    assert sync(run).error is None
    (end,) = completions(backend)
    assert end["status"] == "cancelled"
    assert "exit_code" not in end


def test_checkpoints_and_plots_are_there_before_they_are_named(uploading, backend, s3_store):
    plots = uploading.dir / "plots"
    plots.mkdir()
    for name in ("confusion", "pr", "f1", "losses"):
        (plots / f"{name}.png").write_bytes(name.encode())
    named = []

    def check(request):
        paths = [request.body.get(f"{name}_checkpoint_path") for name in ("best", "last")]
        links = [*paths, *request.body.get("visualization_urls", {}).values()]
        named.append({link.removeprefix("s3://training-checkpoints/") for link in links if link})
        assert named[-1] <= set(s3_store())
        return 200

    backend.mode = check
    append(uploading, Story().whole().events)
    assert sync(uploading).error is None
    assert len(named) == len(backend.requests) == len(backend.taken)
    (end,) = completions(backend)
    assert (end["best_checkpoint_path"], end["last_checkpoint_path"]) == (BEST, LAST)
    content = s3_store()
    assert content["checkpoints/42/best.pt"] == b"best weights"
    assert content["job42/validation/confusion_matrix.png"] == b"confusion"
    urls = backend.of("results")[0]["visualization_urls"]
    assert set(urls) == {"confusion_matrix", "pr_curve", "f1_curve"}
    # It ended well: a later start of this job begins anew.
    assert not {"checkpoints/42/restart.json.gz", "checkpoints/42/delivered.json"} & set(content)


def test_a_store_that_is_away_stops_nothing_and_is_not_named(
    tmp_path, backend, s3_store, monkeypatch, caplog
):
    monkeypatch.setattr("trainer.core.retry.PAUSE", 0.0)
    monkeypatch.setenv("INTERNAL_STORAGE_ENDPOINT", "http://127.0.0.1:9")
    run = make_run(tmp_path, backend.address)
    append(run, Story().whole().events)
    assert sync(run).error is None
    assert check_sequence(sequence(backend), EPOCHS) == []
    (end,) = completions(backend)
    assert not {"best_checkpoint_path", "last_checkpoint_path"} & set(end)
    assert "upload of last" in caplog.text


def test_a_pod_without_the_run_directory_of_the_one_before_repeats_no_row(uploading, backend, tmp_path):
    story = Story().started().add("log", level="INFO", logger="trainer", message="a line")
    story.whole_epoch(1).whole_epoch(2)
    append(uploading, story.events)
    assert sync(uploading).error is None
    lines = len(backend.of("logs"))

    another = make_run(tmp_path / "another", backend.address)
    story.resumed(1).whole_epoch(2).whole_epoch(3).ended()
    append(another, story.events)  # as the restart brings the log from the store
    assert sync(another).error is None
    assert [body["current_epoch"] for body in backend.rows] == [1, 2, 3]
    assert len(backend.of("logs")) == lines + 1


def test_another_run_under_the_same_number_is_told_from_its_beginning(uploading, backend, tmp_path):
    append(uploading, Story().started().whole_epoch(1).whole_epoch(2).events)
    assert sync(uploading).error is None
    other = make_run(tmp_path / "other", backend.address, id="a-run-of-its-own")
    append(other, Story().started().whole_epoch(1).events)
    assert sync(other).error is None
    assert [body["current_epoch"] for body in backend.rows] == [1, 2, 1]


def test_what_was_under_way_when_a_pod_died_is_known_to_the_next(uploading, backend, tmp_path):
    """The mark is put down before the bytes of a row go out."""
    append(uploading, Story().started().whole_epoch(1).events)
    marks = []

    def look(request):
        if "metrics" in request.body:
            marks.append(json.loads(_s3(uploading)["checkpoints/42/delivered.json"])["keys"])
        return 200

    backend.mode = look
    assert sync(uploading).error is None
    assert "row:1" in marks[0]


def test_what_a_backend_that_is_away_misses_waits_and_replay_finishes(run, backend, capsys):
    append(run, Story().whole().events)
    backend.stop()
    left = sync(run, seconds=0.3)
    assert "callbacks wait for" in left.error
    with pytest.raises(NetworkError, match="doesn't have all of this run"):
        replay(ReplayOptions([str(run.dir)], sink="platform", patience=0.3))
    backend.start()
    assert replay(ReplayOptions([str(run.dir)], sink="platform", patience=60.0)) == 0
    assert "knows all of job 42" in capsys.readouterr().out
    assert check_sequence(sequence(backend), EPOCHS) == []


def test_replay_may_tell_another_backend_and_refuses_runs_that_are_no_jobs(run, backend, tmp_path):
    append(run, Story().whole().events)
    (run.dir / "config.yaml").write_text("callback: {name: none}")
    with pytest.raises(ConfigError, match="is no job of a platform"):
        replay(ReplayOptions([str(run.dir)], sink="platform"))


def test_events_of_another_version_do_not_stop_the_rest(run, backend):
    story = Story().started()
    story.add("epoch", surprise=True)
    append(run, story.whole_epoch(1).whole_epoch(2).whole_epoch(3).ended().events)
    assert sync(run).error is None
    assert [body["current_epoch"] for body in backend.rows] == [1, 2, 3]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "http://b"}, "callback.job_id is missing: callback.job_id=42"),
        ({}, "callback.url and callback.job_id are missing"),
        ({"url": "ftp://b", "job_id": 1}, "expected an address such as"),
    ],
)
def test_an_address_and_a_number_are_needed(given, words):
    with pytest.raises(ConfigError) as error:
        PlatformSinkState.of(Callback("platform", **given))
    assert words in error.value.message


def test_the_address_gets_its_path_and_loses_its_password_on_disk(monkeypatch):
    made = PlatformSinkState.of(Callback("platform", "http://me:hunter2@b:8000", 42))
    assert made.address == "http://b:8000/api/v1"
    monkeypatch.setenv(sink_state.ENVIRONMENT, "http://me:hunter2@b:8000")
    assert made.full_address == "http://me:hunter2@b:8000/api/v1"


def test_checkpoints_are_uploaded_where_a_store_is_configured():
    callback = Callback("platform", "http://b", 42)
    assert not PlatformSinkState.of(callback, {}).upload
    assert PlatformSinkState.of(callback, {"INTERNAL_STORAGE_ENDPOINT": "http://s"}).upload
    callback.upload = False
    assert not PlatformSinkState.of(callback, {"INTERNAL_STORAGE_ENDPOINT": "http://s"}).upload


TRAINING = """
import json, sys, time
from trainer.schema import Callback
from trainer.platform.callbacks import sink_process
from trainer.runs.run import Run
run, address, pause, last = Run.open(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
story = [json.loads(line) for line in open(sys.argv[5])]
told = sink_process.start(run, Callback("platform", address, 42, retry_delay=0.05, flush_seconds=60.0, upload=False))
for event in story:
    with run.events.open("a") as file:
        file.write(json.dumps({**event, "time": time.time()}) + "\\n")
    time.sleep(pause)
if last == "kill":
    import os
    os.kill(os.getpid(), 9)
print(told.wait(), flush=True)
"""


@pytest.fixture
def train(run, backend, tmp_path):
    """Starts a process that writes a story's events as a training does, with the sink's process beside it."""
    started: list[subprocess.Popen[str]] = []

    def begin(story: Story, pause: float = 0.0, last: str = "wait") -> subprocess.Popen[str]:
        file = tmp_path / "story.jsonl"
        file.write_text("".join(json.dumps(event) + "\n" for event in story.events))
        command = [sys.executable, "-c", TRAINING, str(run.dir), backend.address, str(pause), last, str(file)]
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    holder = sink_pid(run)
    if holder and _is_sink(holder):
        os.kill(holder, signal.SIGKILL)


def sink_pid(run) -> int | None:
    try:
        return int(json.loads((run.dir / "sinks" / "platform.lock").read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return None


def _is_sink(pid: int) -> bool:
    try:
        return b"trainer.platform.callbacks.sink_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_process_beside_the_training_tells_it_and_reports_its_death(run, backend, train):
    process = train(Story().started().whole_epoch(1), last="kill")
    process.wait(300)
    wait_for(lambda: completions(backend))
    (end,) = completions(backend)
    assert (end["status"], end["exit_code"]) == ("failed", 1)
    assert end["error_message"].startswith("[ResourceError] the training process ended without a word")
    assert [body["current_epoch"] for body in backend.rows] == [1]


def test_killing_the_sink_and_stopping_the_backend_in_mid_run_loses_nothing(run, backend, train):
    """The training never waits; what is left is told by ``replay``."""
    story = Story(12).started()
    for epoch in range(1, 13):
        story.whole_epoch(epoch)
    process = train(story.ended(), pause=0.03)
    wait_for(lambda: len(backend.rows) >= 1)
    backend.stop()
    wait_for(lambda: len(run.events.read_text().splitlines()) > 40)
    holder = wait_for(lambda: sink_pid(run))
    assert _is_sink(holder)
    os.kill(holder, signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert "replay" in said  # it knows that not all was told
    backend.start()
    assert sync(run, seconds=120).error is None
    journal = (run.dir / "sinks" / "platform" / "outbox.jsonl").read_text()
    unknown = [json.loads(line)["key"] for line in journal.splitlines() if '"why": "unknown' in line]
    epochs = [body["current_epoch"] for body in backend.rows]
    assert epochs == [epoch for epoch in range(1, 13) if f"row:{epoch}" in unknown or epoch in epochs]
    assert set(range(1, 13)) - set(epochs) <= {
        int(key.split(":")[1]) for key in unknown if key.startswith("row")
    }
    assert len(completions(backend)) == 1
    assert backend.taken[-1].route == "completion"


def test_the_end_waits_for_a_backend_that_comes_back(run, backend, train):
    backend.mode = first(6, 503)
    process = train(Story().whole())
    said, _ = process.communicate(timeout=300)
    assert said.strip() == "None"
    assert check_sequence(sequence(backend), EPOCHS) == []


def test_failing_before_there_is_a_run_is_told(backend):
    failure = Failure("DatasetError", "there is no such data set", 1)
    assert sink_process.report_failure(backend.address, 42, failure, sink_process.Retry(1, 0.01), 60.0)
    (end,) = completions(backend)
    assert end["error_message"] == "[DatasetError] there is no such data set"
    backend.stop()
    began = time.monotonic()
    assert not sink_process.report_failure(backend.address, 42, failure, sink_process.Retry(1, 0.01), 0.3)
    assert time.monotonic() - began < 60


def _s3(run):
    from tests.platform.conftest import s3_client

    client = s3_client(os.environ["INTERNAL_STORAGE_ENDPOINT"])
    listed = client.list_objects_v2(Bucket="training-checkpoints").get("Contents", [])
    return {
        one["Key"]: client.get_object(Bucket="training-checkpoints", Key=one["Key"])["Body"].read()
        for one in listed
    }
