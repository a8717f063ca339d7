"""A real SLURM of this machine alone: munged, slurmctld and two slurmd, all in one folder, ended by the test."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
NODES = ("one", "two")
# A job that costs nothing: see there.
INSTEAD = f"launcher.interpreter='{sys.executable} {Path(__file__).with_name('slurm_instead.py')}'"

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A job that was put back into the queue starts when the credential of its last start is over.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmctldDebug=info
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# The machine has fewer of everything than these nodes say.
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
# Seconds between a signal and the end of whoever doesn't heed it, on a busy machine.
KillWait=60
InactiveLimit=0
MessageTimeout=60
SlurmdTimeout=300
MinJobAge=300
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=64000 Gres=gpu:2"
# Devices that any machine has; nothing opens them.
GRES = "NodeName={name} Name=gpu File=/dev/null\nNodeName={name} Name=gpu File=/dev/zero"


class NoCluster(Exception):
    """This machine can't have one; says why."""


class Cluster:
    """Two nodes of 8 processors and 2 GPUs each, whatever the machine has.

    Raises:
        NoCluster: a program is missing, or a daemon wouldn't start.
    """

    def __init__(self, folder: Path) -> None:
        if missing := [name for name in PROGRAMS if _which(name) is None]:
            raise NoCluster(
                f"no {', '.join(missing)} here: apt-get install munge slurmctld slurmd slurm-client"
            )
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self._started: list[subprocess.Popen[bytes]] = []
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def environment(self) -> dict[str, str]:
        """What SLURM's commands need to find it."""
        return {"SLURM_CONF": str(self.conf), "PATH": _path()}

    def run(self, *words: str, check: bool = True) -> str:
        """One of SLURM's commands, and what it says."""
        done = subprocess.run(
            words, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.stderr}")
        return done.stdout

    def until(self, condition: Callable[[], object], what: str, seconds: float = 90.0) -> None:
        """Wait for a condition, and say what the daemons said when it doesn't come."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise NoCluster(f"{what} in {seconds:.0f} s\n{self._logs()}")
            if dead := [one.args for one in self._started if one.poll() is not None]:
                raise NoCluster(f"{what}: {dead} ended\n{self._logs()}")
            time.sleep(0.1)

    def close(self) -> None:
        """End all jobs and the daemons, in this order."""
        if len(self._started) > 1 and self._started[1].poll() is None:
            with suppress(AssertionError, NoCluster):
                self.run("scancel", "--signal=KILL", "--full", f"--user={getpass.getuser()}", check=False)
                self.run("scancel", f"--user={getpass.getuser()}", check=False)
                self.until(lambda: not self.run("squeue", "-h").strip(), "no end of the jobs", 30)
        for process in reversed(self._started):
            process.terminate()
        for process in reversed(self._started):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._started.clear()

    def _start(self) -> None:
        host, user = socket.gethostname().partition(".")[0], getpass.getuser()
        ports = _free_ports(1 + len(NODES))
        nodes = [
            NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports[1:], strict=True)
        ]
        self.conf.write_text(
            CONF.format(host=host, user=user, folder=self.folder, ports=ports, nodes="\n".join(nodes))
        )
        gres = [GRES.format(name=name) for name in NODES]
        (self.folder / "gres.conf").write_text("\n".join(gres) + "\n")
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        (self.folder / "state").mkdir()
        for name in NODES:
            (self.folder / f"spool.{name}").mkdir()
        self._munge()
        self._spawn("slurmctld", "-D", "-f", str(self.conf))
        for name in NODES:
            self._spawn("slurmd", "-D", "-N", name, "-f", str(self.conf))
        self.until(lambda: self._idle() == len(NODES), "the nodes aren't ready")

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        files = {
            "key-file": "munge.key",
            "socket": "munge.socket",
            "pid-file": "munge.pid",
            "log-file": "munge.log",
            "seed-file": "munge.seed",
        }
        options = [f"--{option}={self.folder / name}" for option, name in files.items()]
        # --force: the folder may be anybody's; it holds a test's cluster only.
        self._spawn("munged", "--foreground", "--force", *options)
        self.until((self.folder / "munge.socket").exists, "munged gives no socket")

    def _spawn(self, program: str, *options: str) -> None:
        path = _which(program)
        assert path
        with (self.folder / f"{program}.said").open("ab") as said:
            self._started.append(
                subprocess.Popen(
                    [path, *options],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    env={**os.environ, **self.environment},
                    start_new_session=True,  # Ctrl-C is for the tests; close() ends the daemons
                )
            )

    def _idle(self) -> int:
        said = self.run("sinfo", "-h", "-N", "-o", "%t", check=False).split()
        return said.count("idle")

    def _logs(self) -> str:
        files = [*self.folder.glob("*.log"), *self.folder.glob("*.said")]
        return "\n".join(f"--- {file.name}\n{_tail(file)}" for file in sorted(files))


def cluster_or_skip(stack: ExitStack) -> Cluster:
    """A cluster that ends with the stack; the test is skipped, with the reason, where there can't be one."""
    # A socket's name has 108 bytes at most: the tests' own folders may be too deep.
    folder = tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)
    try:
        made = Cluster(Path(stack.enter_context(folder)))
    except NoCluster as reason:
        pytest.skip(f"no SLURM can be started here: {reason}")
    stack.callback(made.close)
    return made


def _which(program: str) -> str | None:
    return shutil.which(program, path=_path())


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _tail(file: Path, lines: int = 15) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
