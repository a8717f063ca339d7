"""What is taken out of an image's environment, and what must stay."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from tests.container.files import ROOT

_spec = importlib.util.spec_from_file_location("container_slim", ROOT / "scripts" / "container" / "slim.py")
assert _spec and _spec.loader
slim = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(slim)

GONE = [
    *("mmcv-build/mmcv.whl", "setup.log", "setup-mmcv.log"),
    *("site/torch/include/a.h", "site/torch/test/a.py", "site/torch/bin/test_api", "site/torch/bin/protoc-3"),
    *("site/opencv_python.libs/libQt5.so", "site/pandas/tests/io/a.py", "site/scipy/stats/tests/a.py"),
]
KEPT = [
    *("setup.stamp", "bin/python", "site/torch/lib/libtorch.so", "site/torch/bin/torch_shm_manager"),
    *(
        "site/torch/testing/_internal/a.py",
        "site/opencv_python_headless.libs/libav.so",
        "site/numpy/testing/a.py",
    ),
    *("site/numpy/_core/tests/_natype.py", "site/pandas/latest.py"),
]


IMPORTED = re.compile(r"^\s*(?:from|import)\s+[\w.]*\btests\b", re.MULTILINE)
# Tools of their developers, which nothing imports in turn.
FOR_DEVELOPERS = (
    *("numba/misc/POST.py", "numba/misc/help/inspector.py", "numba/cuda/testing.py", "numba/testing/"),
    "scipy/special/_precompute/",
)


def filled(folder: Path) -> Path:
    for name in (*GONE, *KEPT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"1234567890")
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_only_building_and_testing_need_is_gone_and_counted(tmp_path: Path):
    folder = filled(tmp_path)
    assert slim.slim(folder, folder / "site") == 10 * len(GONE)
    assert files(folder) == set(KEPT)
    assert slim.slim(folder, folder / "site") == 0


def test_a_link_is_removed_without_what_it_points_to(tmp_path: Path):
    folder = filled(tmp_path / "env")
    outside = tmp_path / "headers"
    outside.mkdir()
    (outside / "kept.h").touch()
    (folder / "site/pandas/tests").rename(folder / "site/pandas/moved")
    (folder / "site/torch/share").symlink_to(outside)
    slim.slim(folder, folder / "site")
    assert (outside / "kept.h").exists() and not (folder / "site/torch/share").is_symlink()


def test_no_package_needs_its_own_tests():
    import numpy

    site = Path(numpy.__file__).parents[1]
    files = [file for package in slim.TESTED for file in (site / package).rglob("*.py")]
    names = {file.relative_to(site).as_posix(): file for file in files if file.name != "conftest.py"}
    kept = {name: file for name, file in names.items() if "/tests/" not in name}
    for name in [name for name in kept if name.startswith(FOR_DEVELOPERS)]:
        del kept[name]
    assert len(kept) > 1000
    found = [name for name, file in kept.items() if IMPORTED.search(file.read_text(errors="replace"))]
    assert not found
    assert IMPORTED.search((site / "numpy/testing/_private/utils.py").read_text())  # and so numpy's are kept


def test_names_are_those_of_installed_packages():
    # A package that is renamed would be kept whole from then on.
    import numpy

    site = Path(numpy.__file__).parents[1]
    assert all((site / package).is_dir() for package in slim.TESTED)
    assert [site / "torch" / "include"] == list(site.glob("torch/include"))
