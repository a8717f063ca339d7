"""What source=... may name."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from tests.inference.squares import Squares, as_set, scene
from trainer.core.errors import DatasetError
from trainer.inference.predict_options import PredictOptions
from trainer.inference.sources import open_source
from trainer.inference.stream import answers

KEYS = {"ACCESS_KEY": "user", "SECRET_KEY": "password"}


def _image(path, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), scene(24, 16, [(0, 0, 0, number + 1, 8)]))
    return path


def _names(source):
    return [sample.name for sample in source.samples()]


def test_an_image_a_folder_and_a_glob(tmp_path):
    paths = [str(_image(tmp_path / name)) for name in ("a.png", "b.jpg", "in/c.PNG")]
    (tmp_path / "notes.md").write_text("no image")
    assert _names(open_source(tmp_path)) == paths
    one = open_source(paths[0])
    assert _names(one) == paths[:1] and one.single and one.count == 1
    many = open_source(f"{tmp_path}/**/*.*")
    assert sorted(_names(many)) == paths and not many.single
    assert _names(many) == _names(many), "it can be gone through again"


def test_a_list_of_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = _image(tmp_path / "in" / "a.png"), _image(tmp_path / "b.png")
    (tmp_path / "in" / "list.txt").write_text(f"# images\na.png\n\n{second}\nb.png\n")
    assert _names(open_source("in/list.txt")) == [os.path.join("in", "a.png"), str(second), "b.png"]
    (tmp_path / "bad.txt").write_text("a.png\nin/a.png\n")
    with pytest.raises(DatasetError, match=r"bad\.txt: 1 of its images are not there: a\.png"):
        open_source("bad.txt")
    assert first.is_file()


@pytest.mark.parametrize("name", ["none", "empty", "*.jpg", "empty.txt", "a.pgn"])
def test_nothing_there_is_said(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    _image(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="source=") as caught:
        open_source(tmp_path / name)
    assert ("'a.png'" in str(caught.value)) == (name == "a.pgn")


def make_video(path, frames=7, size=(48, 32)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, size)
    for number in range(frames):
        writer.write(scene(*size, [(1, 4 * number, 8, 4 * number + 8, 24)]))
    writer.release()
    return path


def test_a_video_is_its_frames(tmp_path):
    source = open_source(make_video(tmp_path / "a.mp4"))
    assert (source.count, source.video.fps) == (7, 5)
    frames = list(source.samples())
    assert [frame.image_id for frame in frames] == list(range(7))
    assert frames[3].name.endswith("a.mp4#3") and frames[3].image.shape == (32, 48, 3)
    # Where the rectangle is: compression blurs its edges.
    columns = [float(np.flatnonzero(frame.image[16, :, 1] > 128).mean()) for frame in frames]
    assert np.allclose(np.diff(columns), 4, atol=1)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(DatasetError, match=r"b\.mp4 can't be read as a video"):
        open_source(tmp_path / "b.mp4")


@pytest.fixture(scope="module")
def bucket():
    """A real S3 server with a bucket; its address and a client."""
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id="user",
        aws_secret_access_key="password",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="inference-data")
    yield address, client
    server.stop()


def test_a_prefix_of_a_store_is_read_object_by_object(bucket, tmp_path, monkeypatch):
    address, client = bucket
    for name, value in {"ENDPOINT": address, **KEYS}.items():
        monkeypatch.setenv(f"INTERNAL_STORAGE_{name}", value)
    for number in range(3):
        path = _image(tmp_path / f"{number}.png", number)
        client.upload_file(str(path), "inference-data", f"job/{number}.png")
    client.put_object(Bucket="inference-data", Key="job/notes.txt", Body=b"no image")
    client.put_object(Bucket="inference-data", Key="job/z.jpg", Body=b"no image either")
    client.put_object(Bucket="inference-data", Key="jobs.png", Body=b"of another prefix")
    source = open_source("s3://inference-data/job")
    assert source.count == 4
    found = list(answers(Squares(), source.samples(), PredictOptions(on_error="skip")))
    assert [as_set(one.prediction) for one in found[:3]] == [{(0, 0, 0, n + 1, 8)} for n in range(3)]
    assert found[2].prediction.path == "s3://inference-data/job/2.png"
    assert "s3://inference-data/job/z.jpg" in found[3].error
    single = open_source("s3://inference-data/job/1.png")
    assert single.single and _names(single) == ["s3://inference-data/job/1.png"]
    for missing in ("s3://inference-data/job/9.png", "s3://inference-data/nothing", "s3://no-bucket/x"):
        with pytest.raises(DatasetError, match="source[=:]"):
            open_source(missing)
