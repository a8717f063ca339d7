"""A Ray cluster of this machine alone, with ports and folders of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from trainer.core.errors import TrainerError
from trainer.launch.ray_cluster.ray_launcher import RayCluster
from trainer.schema import LauncherConfig

SECONDS = 180.0


class LocalRay:
    """Started by its making; ``address`` is its job server's.

    Args:
        cpus: cores that it says it has.
    """

    def __init__(self, cpus: int = 2) -> None:
        # Its sockets' names have room for about a hundred letters.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self.said = self.folder / "said.txt"
        for _ in range(3):
            if self._start(cpus):
                return
            self._end()
        output = self.said.read_text()
        self.stop()
        raise AssertionError(output)

    def stop(self) -> None:
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, cpus: int) -> bool:
        dashboard, client = _free_ports(2)
        self.address = f"http://127.0.0.1:{dashboard}"
        ports = ["--port=0", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        ports += [
            "--dashboard-agent-listen-port=0",
            "--dashboard-agent-grpc-port=0",
            "--metrics-export-port=0",
        ]
        ports += ["--min-worker-port=0", "--max-worker-port=0"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *ports]
        command += [f"--num-cpus={cpus}", "--num-gpus=0", "--object-store-memory=80000000"]
        command += [f"--temp-dir={self.folder / 'r'}", "--include-dashboard=true", "--disable-usage-stats"]
        own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        with self.said.open("ab") as said:
            self._process = subprocess.Popen(
                command, env={**os.environ, **own}, stdout=said, stderr=said, start_new_session=True
            )
        until = time.monotonic() + SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            # Its machine joins a little after it answers.
            with suppress(TrainerError):
                if RayCluster(LauncherConfig(name="ray", address=self.address)).nodes():
                    return True
            time.sleep(0.3)
        return False

    def _end(self) -> None:
        """End its processes: those that name its folder, since it starts some in sessions of their own."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20.0)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if os.fsencode(self.folder) in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)
        self._process.kill()
        self._process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
