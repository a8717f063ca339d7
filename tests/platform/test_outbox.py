"""The journal: what a kill at any byte leaves, and what newer progress makes superfluous."""

from __future__ import annotations

import json

import pytest

from trainer.platform.callbacks.outbox import COMPACT_BYTES, Outbox


@pytest.fixture
def outbox(tmp_path):
    made = []

    def make() -> Outbox:
        for one in made:
            one.close()
        made.append(Outbox(tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()


def put(box: Outbox, key: str, kind: str | None = None) -> bool:
    return box.put(key, kind or key.split(":")[0], "a/path", {"key": key})


def keys(box: Outbox) -> list[str]:
    return [entry.key for entry in box.waiting()]


def test_keeps_the_order_and_knows_what_is_done_when_it_is_opened_again(outbox):
    box = outbox()
    for key in ("started:1", "row:1", "validation:1", "row:2"):
        assert put(box, key)
    box.done("started:1")
    box.sent("row:1")
    box = outbox()
    assert keys(box) == ["row:1", "validation:1", "row:2"]
    assert [entry.sent for entry in box.waiting()] == [True, False, False]
    assert box.first().key == "row:1"
    assert box.first(after="row:1").key == "validation:1"
    assert not put(box, "started:1")
    assert not put(box, "row:2")


def test_a_body_that_surely_was_not_taken_is_as_if_never_sent(outbox):
    box = outbox()
    put(box, "row:1")
    box.sent("row:1")
    box.back("row:1")
    assert not outbox().first().sent


def test_newer_progress_supersedes_progress_without_metrics_and_nothing_else(outbox):
    box = outbox()
    for key in (
        "started:1",
        "progress:1",
        "log:1",
        "row:1",
        "validation:1",
        "progress:2",
        "progress:3",
        "row:2",
    ):
        put(box, key)
    assert keys(box) == ["started:1", "log:1", "row:1", "validation:1", "row:2"]
    assert "superseded by row:1" in box.why("progress:1")
    put(box, "progress:4")
    box.sent("progress:4")  # under way: the backend may have it already
    put(box, "row:3")
    assert keys(outbox()) == ["started:1", "log:1", "row:1", "validation:1", "row:2", "progress:4", "row:3"]


def test_a_kill_at_any_byte_leaves_a_journal_that_goes_on(tmp_path, outbox):
    box = outbox()
    for number in range(3):
        put(box, f"row:{number}")
    box.done("row:0")
    path = tmp_path / "outbox.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in range(0, len(whole), 3):
        path.write_bytes(whole[:cut])
        box = outbox()
        there = sum(whole[:cut].startswith(b"".join(lines[: count + 1])) for count in range(len(lines)))
        assert keys(box) == [f"row:{number}" for number in range(min(there, 3))][int(there == 4) :]
        assert put(box, "row:9")
        assert "row:9" in keys(outbox())


def test_secrets_do_not_reach_the_disk(tmp_path, outbox):
    outbox().put("log:1", "log", "a/path", {"message": "https://me:hunter2@host/x?token=hunter2"})
    assert "hunter2" not in (tmp_path / "outbox.jsonl").read_text()


def test_a_class_may_be_called_as_secrets_are(outbox):
    body = {"per_class_metrics": {"token": {"ap_50": 0.5}, "password": {"ap_50": 0.6}}}
    box = outbox()
    box.put("validation:1", "validation", "a/path", body)
    assert box.first().body == body


def test_what_another_pod_has_delivered_is_not_put_again(outbox):
    box = outbox()
    put(box, "row:2")
    box.adopt(["row:1", "row:2"])
    assert keys(box) == []
    assert not put(box, "row:1")
    assert set(outbox().told()) == {"row:1", "row:2"}


def test_what_may_have_arrived_counts_as_told(outbox):
    box = outbox()
    put(box, "row:1")
    put(box, "row:2")
    box.sent("row:1")
    assert box.told() == ["row:1"]


def test_a_large_journal_of_delivered_bodies_is_shortened(tmp_path, outbox):
    box = outbox()
    box.put("validation:1", "validation", "a/path", {"key": "x" * COMPACT_BYTES})
    box.done("validation:1")
    assert not put(outbox(), "validation:1")
    path = tmp_path / "outbox.jsonl"
    assert path.stat().st_size < 1000
    assert [json.loads(line)["do"] for line in path.read_text().splitlines()] == ["done"]
