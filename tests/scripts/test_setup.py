"""The set-up: sources joined, problems named, finished work skipped, broken work repaired."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT / "scripts" / "setup"
sys.path.insert(0, str(SETUP))
try:
    import environment
    import main as setup_main
    import mmcv_build
    import operators
    import problems
    import steps
    import wheels
finally:
    sys.path.remove(str(SETUP))

from environment import Environment  # noqa: E402


def run_main(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SETUP / "main.py"), *words]
    env = {**os.environ, **changes}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)


def finished(folder: Path) -> Environment:
    """An environment that says it is complete."""
    env = Environment(folder)
    env.python.parent.mkdir(parents=True)
    env.python.symlink_to(sys.executable)
    environment.finish(env)
    return env


# --- joining mmcv's sources ---------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Files that collide in the ways mmcv's do: helpers of one name, and a macro called max."""
    helper = "template <typename T> T add(T a, T b) {{ return a + b + {0}; }}\nint {1}() {{ return add(1, {0}); }}\n"
    (tmp_path / "roi_align.cpp").write_text(helper.format(1, "one"))
    (tmp_path / "bezier_align.cpp").write_text(helper.format(2, "two"))
    (tmp_path / "psamask.cpp").write_text(
        "#define max(a, b) ((a) > (b) ? (a) : (b))\nint top() { return max(1, 2); }\n"
    )
    (tmp_path / "voxels.cpp").write_text("#include <algorithm>\nint most() { return std::max(1, 2); }\n")
    (tmp_path / "pybind.cpp").write_text(
        mmcv_build.WHOLE_TORCH + "\nint top();\nint bound() { return top(); }\n"
    )
    (tmp_path / "torch/csrc/utils").mkdir(parents=True)
    (tmp_path / "torch/csrc/utils/pybind.h").touch()
    return tmp_path


def test_joined_sources_are_hidden_and_in_order(sources: Path) -> None:
    names = mmcv_build.join_sources(sources)
    assert names == ["bezier_align", "roi_align", "voxels", "psamask", "pybind"]
    assert [path.name for path in sources.glob("*.cpp")] == [mmcv_build.UNITY]
    assert mmcv_build.WHOLE_TORCH not in (sources / "pybind.cpp.inc").read_text()
    before = (sources / mmcv_build.UNITY).read_text()
    assert mmcv_build.join_sources(sources) == names
    assert (sources / mmcv_build.UNITY).read_text() == before


def test_joined_sources_compile_and_compute_the_same(sources: Path) -> None:
    mmcv_build.join_sources(sources)
    tail = '#include <cstdio>\nint main() { std::printf("%d %d %d %d", one(), two(), bound(), most()); }\n'
    (sources / "program.cpp").write_text(f'#include "{mmcv_build.UNITY}"\n#undef max\n' + tail)
    program = sources / "program"
    subprocess.run(["c++", "-I", str(sources), str(sources / "program.cpp"), "-o", str(program)], check=True)
    assert subprocess.run([str(program)], capture_output=True, text=True).stdout == "3 5 2 2"


def test_the_build_is_optimised_and_has_cuda_only_with_nvcc() -> None:
    plain = mmcv_build.build_environment(cuda=False, nvcc=False)
    assert "-O2" in plain["CFLAGS"].split() and "FORCE_CUDA" not in plain
    assert mmcv_build.build_environment(cuda=True, nvcc=True)["FORCE_CUDA"] == "1"
    assert mmcv_build.build_environment(cuda=True, nvcc=False)["CUDA_VISIBLE_DEVICES"] == ""


# --- what keeps the set-up from working ---------------------------------------------------------


def test_no_compiler_exits_2_and_names_the_mend(tmp_path: Path) -> None:
    done = run_main("--target", str(tmp_path / "env"), PATH=str(tmp_path), CXX="")
    assert done.returncode == 2
    assert "no C++ compiler" in done.stderr
    assert "apt-get install g++" in done.stderr or "xcode-select --install" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "env").exists()


def test_no_usable_python_exits_2_and_names_the_mend(tmp_path: Path) -> None:
    shutil.copytree(SETUP, tmp_path / "scripts/setup")
    shutil.copy(ROOT / "scripts/test", tmp_path / "scripts/test")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "dirname").symlink_to(shutil.which("dirname") or "")
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")  # as Python 3.9 answers the question
    (tools / "python3").chmod(0o755)
    env = {"PATH": str(tools)}
    command = [shutil.which("sh") or "/bin/sh", str(tmp_path / "scripts/test")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "no Python 3.10 to 3.13 found" in done.stderr and "PYTHON=" in done.stderr


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0), (2, 7, 18)])
def test_wrong_python_is_named(version: tuple[int, int, int]) -> None:
    with pytest.raises(problems.SetupProblem, match=rf"Python {version[0]}\.{version[1]}.*3\.10 to 3\.13"):
        problems.check_python(version)


def test_missing_headers_are_named(tmp_path: Path) -> None:
    with pytest.raises(problems.SetupProblem, match="Python.h") as caught:
        problems.check_headers(tmp_path)
    assert "-dev" in caught.value.mend


def test_too_little_disk_says_how_much_is_needed(tmp_path: Path) -> None:
    with pytest.raises(problems.SetupProblem, match="about 1e.06 GB needed"):
        problems.check_disk(tmp_path / "not/yet/there", needed_gb=1e6)
    problems.check_disk(tmp_path, needed_gb=0)


def test_missing_venv_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(problems.SetupProblem, match="venv module") as caught:
        problems.check_venv_module()
    assert "-venv" in caught.value.mend


# --- doing it once, and again after a kill ------------------------------------------------------


def test_second_run_skips_everything(tmp_path: Path) -> None:
    env = finished(tmp_path / "env")
    begun = time.monotonic()
    done = run_main("--target", str(env.folder))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - begun < 5
    assert not env.log.exists()


def test_stamp_depends_on_the_lists_and_the_kind(tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(SETUP, root / "scripts/setup")
    env = Environment(tmp_path / "env", dev=False)
    env.python.parent.mkdir(parents=True)
    env.python.symlink_to(sys.executable)
    assert not environment.is_complete(env, root)
    environment.finish(env, root)
    assert environment.is_complete(env, root)
    assert not environment.is_complete(Environment(env.folder, dev=True), root)
    environment.finish(Environment(env.folder, dev=True), root)
    assert environment.is_complete(env, root)
    (root / "scripts/setup/lock.txt").write_text("addict==0.0.1\n")
    assert not environment.is_complete(env, root)


def test_half_made_environment_is_made_anew(tmp_path: Path) -> None:
    env = Environment(tmp_path / "env")
    (env.folder / "bin").mkdir(parents=True)
    env.python.symlink_to(tmp_path / "gone")
    assert "anew" in environment.make(env)
    assert subprocess.run([str(env.python), "-m", "pip", "--version"], capture_output=True).returncode == 0
    site = next(env.folder.glob("lib/python*/site-packages"))
    (site / "cut-1.0.dist-info").mkdir()
    (site / "cut-1.0.dist-info/METADATA").write_text("Name: cut\n")
    assert "1 half-installed packages dropped" in environment.make(env)
    assert not (site / "cut-1.0.dist-info").exists() and list(site.glob("pip-*.dist-info"))


def test_a_second_set_up_waits_even_for_the_children_of_a_killed_one(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SETUP)!r})\n"
        "from pathlib import Path; import environment, steps, time\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "with environment.locked(environment.Environment(folder / 'env'), print):\n"
        "    steps.Step('sleep', ['sleep', '3'], folder / 'log'); print('holding', flush=True); time.sleep(60)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert first.stdout and first.stdout.readline() == "holding\n"
    first.kill()
    first.wait()
    said: list[str] = []
    begun = time.monotonic()
    with environment.locked(Environment(tmp_path / "env"), said.append):
        assert time.monotonic() - begun > 1
    assert said and "another set-up" in said[0]


def test_terminating_the_set_up_ends_its_commands(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with steps.Step("sleep", ["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], tmp_path / "log"):
        while not (pid_file.exists() and pid_file.read_text().strip()):
            time.sleep(0.02)
    pid = int(pid_file.read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and ") Z" in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the command's child outlived it")


def test_a_failing_step_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(steps.StepFailed) as caught:
        steps.run("counting", ["sh", "-c", "seq 1 100; echo boom; exit 3"], tmp_path / "log")
    lines = caught.value.tail().splitlines()
    assert lines[-1] == "boom" and len(lines) == steps.TAIL


# --- mmcv's wheel and its operators -------------------------------------------------------------


def test_the_installed_operators_pass() -> None:
    done = subprocess.run([sys.executable, str(SETUP / "operators.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_wrong_operators_are_found() -> None:
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("mmcv.ops")
    conv = torch.nn.functional.conv2d
    wrong = {
        operators.check_nms: lambda boxes, scores, iou: ops.nms(boxes, scores, 0.99),
        operators.check_soft_nms: lambda b, s, i, sigma, m, how: ops.soft_nms(b, s, i, sigma, m, "gaussian"),
        operators.check_roi_align: lambda x, r, o, s, n, m, a: ops.roi_align(x, r, o, s, n, m, not a),
        operators.check_deform_conv: lambda image, offset, weight: conv(image, weight),
        operators.check_modulated: lambda x, o, m, w, b, *rest: conv(x, w, b),
        operators.check_rotated_iou: lambda a, b: ops.box_iou_rotated(a, b) * 1.01,
    }
    for check, operator in wrong.items():
        with pytest.raises(operators.WrongOperator):
            check(operator)


def test_a_wheel_is_cached_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / "cache"))
    cache = wheels.Wheels(Environment(tmp_path / "env", own=False))
    assert cache.find() is None and mmcv_build.VERSION in cache.folder.name
    wheel = tmp_path / "x-1.whl"
    wheel.write_bytes(b"wheel")
    cache.keep(wheel)
    (cache.folder / "y-1.whl.99.draft").write_bytes(b"wh")
    assert cache.find() == cache.folder / "x-1.whl"
    cache.forget()
    assert cache.find() is None


def test_an_unwritable_home_keeps_the_cache_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("TRAINER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    env = Environment(tmp_path / "env")
    assert wheels.cache_folder(env) == env.folder / "cache"


# A torch with CUDA on a machine without a GPU but with nvcc, as where an image is built.
FAKE_TORCH = {
    "torch/__init__.py": "from torch import cuda, version; __version__ = '2.13.0'",
    "torch/cuda.py": "is_available = lambda: False",
    "torch/version.py": "cuda = '13.0'",
    "torch/utils/__init__.py": "",
    "torch/utils/cpp_extension.py": "import os; CUDA_HOME = os.environ.get('FAKE_NVCC')",
}


@pytest.mark.parametrize(
    ("variables", "with_cuda", "words"),
    [
        ({"FAKE_NVCC": "/usr/local/cuda"}, False, "cpu"),
        ({"FORCE_CUDA": "1"}, False, "cpu"),
        ({"FORCE_CUDA": "1", "FAKE_NVCC": "/usr/local/cuda"}, True, "cuda13.0"),
        (
            {"FORCE_CUDA": "1", "FAKE_NVCC": "/usr/local/cuda", "TORCH_CUDA_ARCH_LIST": "8.0;9.0+PTX"},
            True,
            "cuda13.0-8.0-9.0+PTX",
        ),
    ],
)
def test_a_wheel_for_gpus_can_be_asked_for_where_none_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], with_cuda: bool, words: str
) -> None:
    for name, text in FAKE_TORCH.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("FORCE_CUDA", "FAKE_NVCC", "TORCH_CUDA_ARCH_LIST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / "cache"))
    cache = wheels.Wheels(Environment(tmp_path / "env", own=False))
    assert cache.with_cuda is with_cuda
    assert cache.folder.name.rpartition("-")[0].endswith(f"-{words}")


def test_wrong_operators_fall_back_to_the_plain_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / "cache"))
    env = Environment(tmp_path, own=False)
    cache = wheels.Wheels(env)
    build = tmp_path / "mmcv-build"
    build.mkdir()
    (build / "mmcv.whl").write_bytes(b"joined")

    def install(_: Environment, wheel: Path) -> None:
        if wheel.read_bytes() == b"joined":
            raise steps.StepFailed("mmcv's operators checked", tmp_path / "log")

    def compiling(_: Environment, *words: str) -> steps.Step:
        assert words == ("--plain",)
        return steps.Step("fake", ["sh", "-c", "printf plain > mmcv.whl"], tmp_path / "log", build)

    monkeypatch.setattr(setup_main, "_install_wheel", install)
    monkeypatch.setattr(setup_main, "_compiling", compiling)
    setup_main._install_mmcv(env, cache, build / "mmcv.whl")
    assert "operators are wrong: compiling mmcv file by file" in capsys.readouterr().out
    kept = cache.find()
    assert kept is not None and kept.read_bytes() == b"plain"


# --- the package --------------------------------------------------------------------------------


def test_a_built_wheel_holds_the_configuration(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    shipped = {f"trainer/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert shipped and shipped <= names and "trainer/__main__.py" in names
