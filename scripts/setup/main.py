"""Set up an environment for the trainer: ``python3 scripts/setup/main.py [--target DIR|current] [--no-dev]``.

From nothing: a venv, torch, then mmcv's operators compiled beside the installation of all the rest, the
operators checked, the trainer itself. What is done already is skipped; a run that was killed is taken up
again. Needs Python 3.10 to 3.13, a C++ compiler and Python's headers, nothing else. Exits with 2 when the
machine lacks something (the message names the mend), with 1 when a step fails.
"""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import List, Optional, Sequence

sys.dont_write_bytecode = True  # a set-up may run from a read-only or a root-owned checkout

from problems import SetupProblem, check_all, check_python  # noqa: E402

# Before the modules below: an older Python could not even read them.
try:
    check_python()
except SetupProblem as problem:
    sys.stderr.write("set-up can't go on: {}\n  mend: {}\n".format(problem, problem.mend))
    sys.exit(2)

from environment import HERE, ROOT, Environment, finish, is_complete, locked, make  # noqa: E402
from steps import Step, StepFailed, run, say  # noqa: E402
from wheels import Wheels  # noqa: E402

# pip's words for a pin that this Python or platform cannot have.
NO_SUCH_PIN = ("No matching distribution", "Could not find a version", "ResolutionImpossible")
# mmpose asks for these; see requirements.txt.
UNNEEDED = ("chumpy", "torchvision")
# The packages with most of the modules that a training and its tracker import.
IMPORTED = (
    *(
        "torch",
        "mmcv",
        "mmengine",
        "mmdet",
        "mmseg",
        "mmpose",
        "numpy",
        "scipy",
        "sklearn",
        "matplotlib",
        "cv2",
    ),
    *(
        "pandas",
        "imaug",
        "skimage",
        "albumentations",
        "sympy",
        "faster_coco_eval",
        "pycocotools",
        "xtcocotools",
    ),
    *("rich", "hydra", "omegaconf", "yaml", "mlflow", "sqlalchemy", "alembic", "pydantic", "antlr4", "onnx"),
    *(
        "PIL",
        "networkx",
        "fastapi",
        "flask",
        "google",
        "opentelemetry",
        "urllib3",
        "requests",
        "shapely",
        "torchgen",
    ),
)


def set_up(env: Environment) -> None:
    """Bring the environment from whatever state it is in to complete."""
    say(make(env))
    # The pip that comes with an older Python takes four times the processor time over 180 packages.
    run("a current pip", _pip(env, "install", "pip>=25"), env.log)
    say("installing torch: about half a minute")
    _install(env, "torch and the build tools", ["-r", "requirements-build.txt"], pins=["-c", "lock.txt"])
    wheels = Wheels(env)
    kept = wheels.find()
    if kept:
        say("mmcv's operators are already compiled: " + str(kept.parent))
        _install_rest(env)
    else:
        say("compiling mmcv's operators beside the rest: " + _how_long(wheels))
        with _compiling(env) as compiling:
            _install_rest(env)
            compiling.wait()
        kept = next(_build_folder(env).glob("*.whl"))
    _install_mmcv(env, wheels, kept)
    run(
        "the trainer itself",
        _pip(env, "install", "--no-deps", "--no-build-isolation", "-e", str(ROOT)),
        env.log,
    )
    _compile_modules(env)
    _report_conflicts(env)
    finish(env)


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--target", default=str(ROOT / ".venv"), help="a venv folder, or 'current' (default: .venv)"
    )
    parser.add_argument("--no-dev", action="store_true", help="leave out what only tests and checks need")
    parser.add_argument("--check", action="store_true", help="only tell by the exit code whether all is done")
    words = parser.parse_args(argv)
    own = words.target != "current"
    folder = Path(os.path.abspath(words.target)) if own else Path(sys.prefix)
    env = Environment(folder, dev=not words.no_dev, own=own)
    if is_complete(env):
        return 0
    if words.check:
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends pip and the compilers, as Ctrl-C does
    try:
        check_all(env.folder, fresh=not env.python.exists() or not own)
        with locked(env, say):
            if not is_complete(env):  # another set-up may have finished it meanwhile
                set_up(env)
        say("the environment is complete: " + str(env.folder))
    except SetupProblem as problem:
        print("set-up can't go on: {}\n  mend: {}".format(problem, problem.mend), file=sys.stderr)
        return 2
    except StepFailed as failed:
        print(
            "{}\nset-up failed at: {}\n  whole log: {}".format(failed.tail(), failed, failed.log),
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("set-up stopped; the next run takes it up again", file=sys.stderr)
        return 130
    return 0


def _install_rest(env: Environment) -> None:
    """Everything but mmcv: the lock lists without the resolver, or the short list with it."""
    locks = ["-r", "lock.txt"] + (["-r", "lock-dev.txt"] if env.dev else [])
    short = "requirements-dev.txt" if env.dev else "requirements.txt"
    _install(env, "the rest of the packages", ["-r", short], instead=["--no-deps", *locks])
    run("the last packages", _pip(env, "install", "--no-deps", "-r", "requirements-late.txt"), env.log, HERE)
    source = ["install", "--no-deps", "--no-binary", "xtcocotools", "-r", "requirements-source.txt"]
    run("xtcocotools (compiled)", _pip(env, *source, "--no-build-isolation"), env.log, HERE)


def _install(
    env: Environment, name: str, words: List[str], pins: Sequence[str] = (), instead: Sequence[str] = ()
) -> None:
    """Install with the exact versions of the lock; where one does not exist for this Python, without."""
    base = _pip(env, "install", "--prefer-binary", "--no-build-isolation")
    begun = env.log.stat().st_size if env.log.exists() else 0
    try:
        run(name, [*base, *(instead or [*words, *pins])], env.log, HERE)
    except StepFailed:
        with env.log.open("rb") as log:
            log.seek(begun)
            output = log.read().decode("utf-8", errors="replace")
        if not any(sign in output for sign in NO_SUCH_PIN):
            raise
        say("a locked version does not exist for this Python or platform: letting pip choose")
        run(name, [*base, *words], env.log, HERE)


def _install_mmcv(env: Environment, wheels: Wheels, wheel: Path) -> None:
    """Install mmcv, check its operators, and fall back to the plain build if they are wrong."""
    fresh = not wheel.is_relative_to(wheels.folder)
    try:
        _install_wheel(env, wheel)
    except StepFailed:
        minutes = 26 / (os.cpu_count() or 2)
        say(
            "the joined build's operators are wrong: compiling mmcv file by file, about %.0f minutes"
            % minutes
        )
        wheels.forget()
        with _compiling(env, "--plain") as compiling:
            compiling.wait()
        wheel, fresh = next(_build_folder(env).glob("*.whl")), True
        _install_wheel(env, wheel)
    if fresh:
        wheels.keep(wheel)


def _install_wheel(env: Environment, wheel: Path) -> None:
    command = _pip(env, "install", "--no-deps", "--force-reinstall", str(wheel))
    run("mmcv", command, env.log)
    run("mmcv's operators checked", [str(env.python), str(HERE / "operators.py")], env.log)


def _compiling(env: Environment, *words: str) -> Step:
    command = [str(env.python), str(HERE / "mmcv_build.py"), str(_build_folder(env)), *words]
    return Step("mmcv's operators compiled", command, env.folder / "setup-mmcv.log")


def _build_folder(env: Environment) -> Path:
    return env.folder / "mmcv-build"


def _how_long(wheels: Wheels) -> str:
    cores = os.cpu_count() or 2
    if wheels.with_cuda:
        return "with CUDA, about {:.0f} minutes on {} cores".format(max(3, 60 / cores), cores)
    note = " (a GPU, but no nvcc: operators for the CPU only)" if wheels.without_nvcc else ""
    return "about 1 minute on {} cores{}".format(cores, note)


def _report_conflicts(env: Environment) -> None:
    try:
        run("dependencies checked", _pip(env, "check"), env.folder / "setup-check.log")
    except StepFailed as found:
        lines = [
            line for line in found.tail().splitlines() if " requires " in line or " has requirement " in line
        ]
        for line in lines:
            if not any(name in line for name in UNNEEDED):
                say("note: " + line)


def _pip(env: Environment, *words: str) -> List[str]:
    # pip would compile one module after the other; _compile_modules does so on all cores.
    quiet = ["--no-input", "--no-color", *(["--no-compile"] if words[0] == "install" else [])]
    return [str(env.python), "-m", "pip", words[0], *quiet, *words[1:]]


def _compile_modules(env: Environment) -> None:
    """Byte-compile what training and tracking import.

    Python does so by itself at the first import, unless PYTHONDONTWRITEBYTECODE is set (as in many containers) or
    the folder is read-only: every start of a training would then take 10 to 40 seconds longer.
    """
    place = [str(env.python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(place, check=True, capture_output=True, text=True).stdout.strip())
    folders = [str(site / name) for name in IMPORTED if (site / name).is_dir()] if env.own else [str(site)]
    # Some packages bring sources for newer Pythons only; nothing imports them, so a failure is no failure.
    compiling = (
        "import compileall, sys; [compileall.compile_dir(d, quiet=2, workers=0) for d in sys.argv[1:]]"
    )
    run("modules compiled", [str(env.python), "-c", compiling, *folders], env.log)


if __name__ == "__main__":
    sys.exit(main())
