"""What is told of which events. Among it the defects that earlier trainers had in their callbacks:

the loss was always 0; the validation's epoch was one too high; there were several rows an epoch, an epoch beyond the
total and more than 100 per cent; the backend wasn't told of the best checkpoint while training went on.
"""

from __future__ import annotations

import pytest

from tests.platform.contract import check_body
from tests.platform.made_up import Story, write_files
from trainer.platform.callbacks.events_to_payloads import CURVES_SECONDS, MOST_LOGS, EventTranslator, Message
from trainer.platform.callbacks.payloads import ROUTES, MetricsPayload


@pytest.fixture
def narrator(tmp_path):
    def make(**options) -> EventTranslator:
        return EventTranslator(tmp_path, 42, **options)

    write_files(tmp_path, (1, 2, 3))
    return make


def told(narrator: EventTranslator, story: Story) -> list[Message]:
    """All messages, each of them checked against the contract."""
    messages = [message for event in story.events for message in narrator.hear(event)]
    for message in messages:
        path = "/api/v1/" + ROUTES[message.body.route].format(id=42)
        assert check_body(path, message.body.content()) == []
    return messages


def kinds(messages: list[Message]) -> list[str]:
    return [f"{one.kind} {getattr(one.body, 'current_epoch', getattr(one.body, 'epoch', ''))}".strip()
            for one in messages if one.kind != "log"]  # fmt: skip


def rows(messages: list[Message]) -> list[dict]:
    return [one.body.content() for one in messages if one.kind == "row"]


def test_a_training_is_started_rows_and_validations(narrator):
    messages = told(narrator(), Story().whole())
    assert kinds(messages) == [
        "started 0", "row 1", "validation 1", "row 2", "validation 2", "row 3", "validation 3",
    ]  # fmt: skip
    assert len({one.key for one in messages}) == len(messages)


def test_rows_have_the_losses_the_headline_and_our_names(narrator):
    messages = told(narrator(), Story().whole())
    first = rows(messages)[0]
    assert first["metrics"]["loss"] == 3.0
    assert first["metrics"]["accuracy"] == pytest.approx(0.1)
    assert first["metrics"]["learning_rate"] == 0.02
    assert first["metrics"]["extra_metrics"] == pytest.approx(
        {
            "loss": 3.0, "loss_cls": 1.0, "learning_rate": 0.02, "mAP50-95": 0.1, "mAP50": 0.15, "precision": 0.66,
            "recall": 0.58,
        }
    )  # fmt: skip
    assert first["epoch_duration_seconds"] == 6.0
    assert first["estimated_time_remaining"] == 30.0
    assert [one["progress_percent"] for one in rows(messages)] == [33.3333, 66.6667, 100.0]


def test_every_row_has_the_same_keys_where_not_every_epoch_is_validated(narrator):
    story = Story(4).started().epoch(1).validation(1).curves(1)
    story.epoch(2, validates=False).epoch(3, validates=False).epoch(4).validation(4).ended()
    extra = [one["metrics"]["extra_metrics"] for one in rows(told(narrator(), story))]
    assert len({tuple(sorted(one)) for one in extra}) == 1
    assert [one["mAP50-95"] for one in extra] == pytest.approx([0.1, 0.1, 0.1, 0.4])
    assert [one["loss"] for one in extra] == [3.0, 1.5, 1.0, 0.75]


def test_an_epoch_without_a_validation_is_told_at_once_and_one_with_waits_for_it(narrator):
    one = narrator()
    assert kinds(told(one, Story().started().epoch(1, validates=False))) == ["started 0", "row 1"]
    one = narrator()
    assert kinds(told(one, Story().started().epoch(1).validation(1))) == ["started 0"]


def test_a_validation_does_not_wait_for_its_curves_for_ever(narrator):
    one, story = narrator(), Story().started().epoch(1).validation(1)
    told(one, story)
    assert one.tick(story.time + CURVES_SECONDS - 1) == []
    assert kinds(one.tick(story.time + CURVES_SECONDS + 1)) == ["row 1", "validation 1"]


def test_logs_of_older_versions_do_not_say_whether_a_validation_follows(narrator):
    story = (
        Story().started().epoch(1, validates=None).epoch(2, validates=None).validation(2).train(21).curves(2)
    )
    assert kinds(told(narrator(), story)) == ["started 0", "row 1", "row 2", "validation 2"]


def test_the_validation_has_what_the_view_reads(narrator):
    (body,) = [
        one.body.content()
        for one in told(narrator(), Story().started().whole_epoch(2))
        if one.kind == "validation"
    ]
    assert (body["epoch"], body["task_type"]) == (2, "object_detection")
    assert (body["primary_metric_name"], body["primary_metric_value"]) == ("mAP50-95", pytest.approx(0.2))
    assert body["metrics"]["mAP@0.5"] == pytest.approx(0.3)
    assert body["per_class_metrics"]["scratch"]["support"] == 41
    assert body["confusion_matrix"] == [[30, 3, 8], [2, 25, 6], [5, 4, 0]]
    assert body["pr_curves"]["scratch"]["recall"] == [0.0, 0.5, 1.0]
    assert body["class_names"] == ["scratch", "dent"]
    assert body["image_results"][0]["is_correct"]
    assert body["sample_correct_images"] == ["a.png"]


def test_files_of_another_point_are_not_taken_for_this_one(narrator):
    story = Story().started().epoch(1).validation(1, iteration=7).curves(1)
    (body,) = [one.body.content() for one in told(narrator(), story) if one.kind == "validation"]
    assert "confusion_matrix" not in body
    assert "image_results" not in body


@pytest.mark.parametrize("value", [float("nan"), None])
def test_what_is_not_finite_is_left_out(narrator, value):
    story = Story().started().epoch(1, loss=value, validates=False).ended()
    story.events[2]["losses"]["loss"] = value
    metrics = rows(told(narrator(), story))[0]["metrics"]
    assert "loss" not in metrics["extra_metrics"]


def test_a_metric_of_which_less_is_better_is_no_headline(narrator):
    story = Story(primary_metric={"name": "loss", "mode": "min"}).started().whole_epoch(1)
    messages = told(narrator(), story)
    assert rows(messages)[0]["metrics"]["accuracy"] == pytest.approx(0.1)
    assert messages[-1].body.primary_metric_name == "mAP50-95"


def test_the_best_checkpoint_is_named_as_soon_as_it_is_there(narrator):
    links: dict[str, str] = {}
    one = narrator(links=lambda: links)
    story = Story().started().whole_epoch(1)
    first = told(one, story)
    links |= {"best": "s3://b/checkpoints/42/best.pt", "pr_curve": "s3://b/job42/validation/pr_curve.png"}
    events = len(story.events)
    story.whole_epoch(2).train(21).train(22, time=story.time + 100)
    story.events = story.events[events:]
    second = told(one, story)
    assert "best_checkpoint_path" not in rows(first)[0]
    assert rows(second)[0]["best_checkpoint_path"] == links["best"]
    assert second[1].body.content()["visualization_urls"] == {"pr_curve": links["pr_curve"]}
    assert (second[-1].kind, second[-1].body.best_checkpoint_path) == ("progress", links["best"])


def test_a_long_epoch_says_how_far_it_is_without_a_row(narrator):
    story = Story(2).started()
    for iteration in range(1, 10):
        story.time += 40
        story.train(iteration)
    messages = [one for one in told(narrator(), story) if one.kind == "progress"]
    assert [one.body.content()["progress_percent"] for one in messages] == [10.0, 20.0, 30.0, 40.0]
    assert {one.body.current_epoch for one in messages} == {1}
    assert all("metrics" not in one.body.content() for one in messages)


def test_rows_may_be_fewer_and_the_last_epoch_always_has_one(narrator):
    story = Story(5).started()
    for epoch in range(1, 6):
        story.epoch(epoch, validates=False)
    assert [one["current_epoch"] for one in rows(told(narrator(interval=2), story.ended()))] == [2, 4, 5]


def test_loops_that_count_iterations_have_a_row_for_each_pass_through_the_data(narrator):
    story = Story(None, iterations=1000, epoch_iterations=10).started()
    for iteration in range(5, 1001, 5):
        story.train(iteration, losses={"loss": float(iteration)})
        if iteration % 250 == 0:
            story.validation(-(-iteration // 10), value=0.5, iteration=iteration)
    messages = told(narrator(), story.ended())
    epochs = [one["current_epoch"] for one in rows(messages)]
    assert list(dict.fromkeys(epochs)) == list(range(1, 101))
    keys = [one.key for one in messages if one.kind == "row"]
    assert sorted(set(keys), key=keys.index) == [f"row:{epoch}" for epoch in range(1, 101)]
    assert {one["total_epochs"] for one in rows(messages)} == {100}
    assert max(one["progress_percent"] for one in rows(messages)) == 100.0
    assert rows(messages)[0]["metrics"]["loss"] == 7.5
    assert [one.body.epoch for one in messages if one.kind == "validation"] == [25, 50, 75, 100]


def test_validations_within_a_pass_do_not_add_rows(narrator):
    story = Story(None, iterations=20, epoch_iterations=10).started()
    for iteration in range(1, 21):
        story.train(iteration)
        if iteration % 4 == 0:
            story.validation(-(-iteration // 10), value=0.5, iteration=iteration)
    assert {one.key for one in told(narrator(), story.ended()) if one.kind == "row"} == {"row:1", "row:2"}


def test_what_is_trained_again_after_a_resume_has_the_key_it_had(narrator):
    story = Story().started().whole_epoch(1).whole_epoch(2).resumed(1).whole_epoch(2).whole_epoch(3).ended()
    messages = told(narrator(), story)
    assert [one.key for one in messages if one.kind == "row"] == ["row:1", "row:2", "row:2", "row:3"]
    started = [one.body for one in messages if one.kind == "started"]
    assert [(one.current_epoch, one.metrics) for one in started] == [(0, None), (1, None)]
    validations = [one.key for one in messages if one.kind == "validation"]
    assert len(set(validations)) == 4  # the second one of an epoch takes the first one's place


def test_an_epoch_that_was_cut_off_before_its_validation_is_told_after_the_resume(narrator):
    story = Story().started().whole_epoch(1).epoch(2).resumed(2).validation(2).curves(2)
    messages = told(narrator(), story)
    assert kinds(messages)[-3:] == ["started 2", "row 2", "validation 2"]
    assert rows(messages)[1]["metrics"]["loss"] == 1.5


def test_an_epoch_that_is_trained_again_is_told_as_it_is_then(narrator):
    story = (
        Story()
        .started()
        .whole_epoch(1)
        .epoch(2, loss=5.0)
        .resumed(1)
        .epoch(2, loss=4.0)
        .validation(2)
        .curves(2)
    )
    assert [one["metrics"]["loss"] for one in rows(told(narrator(), story))] == [3.0, 4.0]


def test_the_best_epoch_is_forgotten_when_a_resume_goes_back_behind_it(narrator):
    one = narrator()
    story = Story().started().whole_epoch(1).epoch(2).validation(2, 0.9).curves(2).resumed(1)
    told(one, story.epoch(2).validation(2, 0.05).curves(2).ended())
    epoch, metrics = one.best
    assert epoch == 1
    assert isinstance(metrics, MetricsPayload)
    assert one.final.loss == 1.5


def test_lines_come_after_started_and_are_fewer_than_the_backend_keeps(narrator):
    story = Story().add("log", level="WARNING", logger="mmengine", message="before").started()
    for number in range(3000):
        story.add("log", level="CRITICAL", logger="trainer", message=f"line {number}")
    messages = told(narrator(), story)
    assert messages[0].kind == "started"
    assert messages[1].body.message == "before"
    lines = [one.body for one in messages if one.kind == "log"]
    assert len(lines) == MOST_LOGS
    assert "train.log" in lines[-1].message
    assert lines[10].level == "ERROR"


def test_a_failure_before_the_first_epoch_has_its_lines(narrator):
    story = Story().add("log", level="ERROR", logger="trainer", message="no memory").ended("failed")
    assert [one.kind for one in told(narrator(), story)] == ["log"]


def test_a_cancelled_training_tells_nothing_more(narrator):
    story = Story().started().epoch(1).validation(1).ended("cancelled", signal="SIGTERM")
    assert kinds(told(narrator(), story)) == ["started 0"]


def test_the_same_log_tells_the_same(narrator):
    story = Story().whole()
    assert [one.key for one in told(narrator(), story)] == [one.key for one in told(narrator(), story)]
