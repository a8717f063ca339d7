"""TensorBoard's file: as the library writes it, and everything once."""

from __future__ import annotations

from trainer.runs.events.sink import cursor_file
from trainer.tracking.metric_mapping import Point
from trainer.tracking.tensorboard_sink import TensorboardSink, TensorboardState, sync_tensorboard
from trainer.tracking.tfevents import header, scalars

# Written by tensorboard 2.21's own RecordWriter and protocol buffers from the same values.
LIBRARY = (
    "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b3531102000000000000000"
    "29eda9500900005040fc54d941100a2a130a110a0a747261696e2f6c6f737315cdcccc3d20719ba02e00000000000000"
    "c5cb57fa0900008040fc54d94110ac022a200a1e0a177065725f636c6173732f53747261c39f652f6d41503530150000"
    "20c015bea5f0200000000000000029eda950090000c040fc54d94110f0a2042a110a0f0a086d415035302d393515caf2"
    "49717410902d"
)


def test_the_file_is_what_the_library_writes():
    points = [
        Point("train/loss", 0.1, 1_700_000_001_250, 10),
        Point("per_class/Straße/mAP50", -2.5, 1_700_000_002_000, 300),
        Point("mAP50-95", 1e30, 1_700_000_003_000, 70_000),
    ]
    assert (header(1_700_000_000.5) + scalars(points)).hex() == LIBRARY
    assert len(scalars([Point("x", 1e300, 0, 0)])) == len(scalars([Point("x", 1.0, 0, 0)]))


def test_everything_once_however_often_it_is_cut_off(make_run, log):
    run = make_run(None, "tb", [{**log.started(), "primary_metric": {"name": "mAP50-95"}}, *log.epoch(1)])
    path = TensorboardSink(run).path
    state = sync_tensorboard(run.dir)
    assert state.error is None and path.stat().st_size == state.size
    kept = state.size
    # A kill after writing and before noting it: more in the file than the cursor knows of.
    with path.open("ab") as file:
        file.write(b"torn")
    log.append(run.dir, [*log.epoch(2), {"type": "finished"}])
    whole = sync_tensorboard(run.dir)
    content = path.read_bytes()
    assert whole.size == len(content) > kept
    assert sync_tensorboard(run.dir) == whole and path.read_bytes() == content
    for lost in (path, cursor_file(run.dir, "tensorboard")):
        lost.unlink()
        assert sync_tensorboard(run.dir) == whole and path.read_bytes() == content
    assert content.count(b"mAP50-95") == 4  # its own and the best, twice each
    assert TensorboardState.load(cursor_file(run.dir, "tensorboard")) == whole
