"""Archives: data sets in them are read like folders, and nothing in them reaches beyond their own folder."""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.data.folders import make
from trainer.core.errors import ConfigError, DatasetError
from trainer.data.convert.convert_dataset import convert
from trainer.data.prepare import prepare
from trainer.data.sources import archive, dataset_cache
from trainer.schema import Dataset

FORMS = ("zip", "tar", "tar.gz", "tgz")


def pack(folder: Path, target: Path, below: str = "") -> Path:
    files = [(path, f"{below}{path.relative_to(folder)}") for path in sorted(folder.rglob("*"))]
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
            for path, name in files:
                out.write(path, name)
    else:
        with tarfile.open(target, "w" if target.suffix == ".tar" else "w:gz") as out:
            for path, name in files:
                out.add(path, name, recursive=False)
    return target


def tar_of(target: Path, *members: tarfile.TarInfo | str, content: bytes = b"x") -> Path:
    with tarfile.open(target, "w") as out:
        for member in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            if info.isreg():
                info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return target


def zip_of(target: Path, *names: str | zipfile.ZipInfo, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for name in names:
            out.writestr(name, content)
    return target


def refused(path: Path) -> str:
    """The message, after a look at what is on disk: nothing but the archive and the cache's locks."""
    before = everything(path.parent)
    with pytest.raises(DatasetError) as caught:
        prepare(Dataset(format="auto", path=str(path)), "detection")
    left = everything(path.parent) - before
    assert all(name.endswith((".lock", ".use")) and name.startswith("cache/datasets/") for name in left), left
    return str(caught.value)


def everything(folder: Path) -> set[str]:
    """Names of all files and links."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()}


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return make("coco", tmp_path / "plain" / "set", "detection")


@pytest.mark.parametrize("form", FORMS)
def test_the_same_data_as_from_the_folder(form, plain, tmp_path):
    path = pack(plain, tmp_path / f"cats.{form}", below="" if form == "zip" else "cats/deep/")
    bundle = prepare(Dataset(format="auto", path=str(path)), "detection")
    assert bundle.fingerprint == prepare(Dataset(format="coco", path=str(plain)), "detection").fingerprint
    assert bundle.name == "cats"


def test_unpacked_once_and_by_content(plain, tmp_path, cache):
    first = archive.unpacked(pack(plain, tmp_path / "a.zip"))
    state = first.stat().st_mtime_ns, os.stat(first / "train2017" / "pic0.png").st_ino
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes())
    second = archive.unpacked(tmp_path / "b.zip")
    assert second == first
    assert (second.stat().st_mtime_ns, os.stat(second / "train2017" / "pic0.png").st_ino) == state
    make("coco", tmp_path / "plain" / "other", "pose")
    assert archive.unpacked(pack(tmp_path / "plain" / "other", tmp_path / "a.zip")) != first
    assert not list((cache / "datasets").glob("*.part"))


def test_what_a_kill_left_is_done_anew(plain, tmp_path, cache):
    path = pack(plain, tmp_path / "a.tar")
    whole = archive.unpacked(path)
    entry = whole.parent
    (entry / "source.json").unlink()
    (entry / "data" / "half.png").write_bytes(b"x")
    entry.rename(entry.with_name(f"{entry.name}.part"))
    assert archive.unpacked(path) == whole
    assert not (whole / "half.png").exists()


def test_converting_copies_what_is_the_caches_own(plain, tmp_path):
    path = pack(plain, tmp_path / "cats.zip")
    done = convert(Dataset(format="auto", path=str(path)), "detection", "yolo", tmp_path / "out")
    assert done.source == str(path) and done.notes[0].startswith(f"{path} is a COCO data set")
    assert {p.stat().st_nlink for p in (tmp_path / "out" / "images").rglob("*.png")} == {1}


@pytest.mark.parametrize(
    "name",
    ["../out.png", "/etc/out.png", "a/../../out.png", "a/../b.png", "C:\\out.png", "..\\out.png", "a\nb"],
)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_names_that_lead_out(form, name, tmp_path):
    path = (zip_of if form == "zip" else tar_of)(tmp_path / f"a.{form}", "fine.png", name)
    text = refused(path)
    assert "leads out of the folder" in text and f"a.{form}" in text
    assert repr(name.replace("\\", os.sep) if form == "zip" and os.sep != "/" else name) in text


def special(kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("odd")
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (special(tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (special(tarfile.SYMTYPE, "fine.png"), "is a link"),
        (special(tarfile.LNKTYPE, "fine.png"), "is a link"),
        (special(tarfile.CHRTYPE), "is neither a file nor a folder"),
        (special(tarfile.BLKTYPE), "is neither a file nor a folder"),
        (special(tarfile.FIFOTYPE), "is neither a file nor a folder"),
    ],
)
def test_links_and_devices_in_tars(member, why, tmp_path):
    text = refused(tar_of(tmp_path / "a.tar", "fine.png", member))
    assert f"'odd' {why}" in text and "nothing was unpacked" in text


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_zips(kind, tmp_path):
    info = zipfile.ZipInfo("odd")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    text = refused(zip_of(tmp_path / "a.zip", "fine.png", info))
    assert "'odd' is" in text


def test_a_link_cannot_be_written_through(tmp_path):
    """A link to a folder outside, then a file below it: the classic."""
    outside = tmp_path / "outside"
    outside.mkdir()
    info = special(tarfile.SYMTYPE, str(outside))
    refused(tar_of(tmp_path / "a.tar", info, "odd/out.png"))
    assert not list(outside.iterdir())


@pytest.mark.parametrize("names", [("a.png", "a.png"), ("a", "a/b.png"), ("a/b.png", "a")])
@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_come_twice(form, names, tmp_path):
    assert "another one has" in refused((zip_of if form == "zip" else tar_of)(tmp_path / f"a.{form}", *names))


def test_bombs(tmp_path, monkeypatch):
    zeros = bytes(65 << 20)
    bomb = zip_of(tmp_path / "bomb.zip", "big.json", content=zeros)
    assert "'big.json' makes it more than 200 times its size" in refused(bomb)
    tarred = tar_of(tmp_path / "bomb.tar", "big.json", content=zeros)
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(tarred.read_bytes(), 1))
    assert "'big.json' makes it more than 200 times its size" in refused(tmp_path / "bomb.tar.gz")
    monkeypatch.setenv("TRAINER_CACHE_GB", "0.06")
    for path in (bomb, tarred):
        assert "more than 0.06 GB, which TRAINER_CACHE_GB allows" in refused(path)
    monkeypatch.setattr(archive, "MAX_FILES", 2)
    assert "'c' is one of more than 2 files" in refused(tar_of(tmp_path / "many.tar", "a", "b", "c"))


def test_sizes_that_lie(tmp_path):
    """A header that states more than there is, and a name that fills the memory."""
    short = tar_of(tmp_path / "short.tar", "a.png", content=bytes(5000))
    short.write_bytes(short.read_bytes()[:3000])
    assert "short.tar is no whole archive" in refused(short)
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 33
    (tmp_path / "name.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert "a header of more than 4 MB" in refused(tmp_path / "name.tar")
    lying = zip_of(tmp_path / "lying.zip", "a.png", content=bytes(5000))
    data = bytearray(lying.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 10)
    lying.write_bytes(data)
    assert "lying.zip is no whole archive" in refused(lying)


def test_a_damaged_header_is_not_the_end(tmp_path):
    path = tar_of(tmp_path / "a.tar", "a.png", "b.png", "c.png")
    data = bytearray(path.read_bytes())
    data[1024:1030] = b"\xff" * 6  # the second member's name: its checksum is wrong now
    path.write_bytes(data)
    assert "what follows byte 1,024 is damaged" in refused(path)


def test_no_archives(tmp_path):
    for name, content in (("a.zip", b""), ("b.tar", b"nonsense" * 200), ("c.tgz", b"\x1f\x8bnonsense")):
        (tmp_path / name).write_bytes(content)
        assert f"{name} is no whole archive" in refused(tmp_path / name)
    assert "holds no file" in refused(zip_of(tmp_path / "d.zip"))
    secret = zip_of(tmp_path / "e.zip", "a.png")
    data = bytearray(secret.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    secret.write_bytes(data)
    assert "'a.png' is encrypted" in refused(secret)
    with pytest.raises(DatasetError, match="does not exist"):
        prepare(Dataset(format="coco", path=str(tmp_path / "none.zip")), "detection")


def test_changed_bytes_end_in_a_result_or_a_dataset_error(plain, tmp_path, cache):
    rng = random.Random(4)
    for form in ("zip", "tar", "tgz"):
        good = pack(plain, tmp_path / f"good.{form}").read_bytes()
        for _ in range(25):
            data = bytearray(good)
            for _ in range(rng.randrange(1, 5)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path = tmp_path / "box" / form / f"a.{form}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
            try:
                archive.unpacked(path)
            except DatasetError as error:
                assert path.name in str(error)
            assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert {p.name for p in tmp_path.iterdir()} == {
        "plain",
        "cache",
        "box",
        "good.zip",
        "good.tar",
        "good.tgz",
    }


@pytest.mark.parametrize("text", ["much", "-1", "0", "nan", "inf"])
def test_a_limit_that_is_none(text, monkeypatch):
    monkeypatch.setenv("TRAINER_CACHE_GB", text)
    with pytest.raises(ConfigError, match="TRAINER_CACHE_GB must be a number of gigabytes above 0"):
        dataset_cache.limit_bytes()
