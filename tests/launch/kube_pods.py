"""Pods of the fake cluster: each container is a process of this machine, with the pod's variables and mounts."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Machine:
    """What stands for the nodes: where claims lie, and the folder that images start in."""

    folder: Path
    claims: dict[str, Path] = field(default_factory=dict)

    def workdir(self) -> Path:
        path = self.folder / "app"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def mount(self, pod: dict[str, Any], secret: Callable[[str], dict[str, Any]]) -> dict[str, str]:
        """Make the pod's volumes; returns mount path -> folder for those that lie elsewhere on this machine."""
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        elsewhere: dict[str, str] = {}
        for mount in pod["spec"]["containers"][0].get("volumeMounts", []):
            volume, path = volumes[mount["name"]], Path(mount["mountPath"])
            if "secret" in volume:
                folder = self.folder / "pods" / pod["metadata"]["uid"] / mount["name"]
                folder.mkdir(parents=True)
                for name, text in secret(volume["secret"]["secretName"])["data"].items():
                    (folder / name).write_bytes(_resolved(base64.b64decode(text)))
                    (folder / name).chmod(volume["secret"]["defaultMode"])
                elsewhere[str(path)] = str(folder)
            elif mount["name"] == "work":
                elsewhere[str(path)] = str(self.workdir())
            elif "persistentVolumeClaim" in volume:
                claim = self.claims[volume["persistentVolumeClaim"]["claimName"]] / mount.get("subPath", "")
                claim.mkdir(parents=True, exist_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    path.symlink_to(claim)
        return elsewhere


class Container:
    """The process of a pod's only container."""

    def __init__(
        self, machine: Machine, pod: dict[str, Any], extra: dict[str, str], secret: Callable[[str], dict[str, Any]]
    ) -> None:  # fmt: skip
        spec = pod["spec"]["containers"][0]
        elsewhere = machine.mount(pod, secret)

        def here(text: str) -> str:
            for path, folder in elsewhere.items():
                text = text.replace(path, folder)
            return text

        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(machine.folder)}
        env |= {
            key: os.environ[key]
            for key in ("OMP_NUM_THREADS", "NO_ALBUMENTATIONS_UPDATE")
            if key in os.environ
        }
        env |= {"PYTHONUNBUFFERED": "1"}
        for source in spec.get("envFrom", []):
            data = secret(source["secretRef"]["name"])["data"]
            env |= {name: base64.b64decode(text).decode() for name, text in data.items()}
        for one in spec.get("env", []):
            env[one["name"]] = here(one["value"] if "value" in one else _field(pod, one))
        env |= extra
        env["HOME"] = str(machine.folder)  # the pod's own /tmp
        command = [here(word) for word in [*spec["command"], *spec.get("args", [])]]
        self.lines: list[tuple[str, str]] = []
        self.more = threading.Condition()
        self.exit: int | None = None
        self.process = subprocess.Popen(
            [sys.executable if command[0] == "python" else command[0], *command[1:]],
            cwd=here(spec["workingDir"]) if "workingDir" in spec else machine.workdir(),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self) -> int:
        """Its exit code as Kubernetes tells it. Whatever the first process left behind ends with it."""
        code = self.process.wait()
        self.kill()
        with self.more:
            self.exit = code if code >= 0 else 128 - code
            self.more.notify_all()
        return self.exit

    def stop(self, grace: float) -> None:
        """SIGTERM to the first process, as a kubelet does; SIGKILL to all when the grace is over."""
        if self.exit is None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            timer = threading.Timer(grace, self.kill)
            timer.daemon = True
            timer.start()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def follow(self, follow: bool) -> Iterator[tuple[str, str]]:
        """What it said, (time, line); with ``follow`` until it has ended."""
        count = 0
        while True:
            with self.more:
                while follow and count == len(self.lines) and not self._through():
                    self.more.wait(1.0)
                lines, through = self.lines[count:], self._through()
            yield from lines
            count += len(lines)
            if not lines and (through or not follow):
                return

    def _through(self) -> bool:
        return self.exit is not None and self._reader_done

    _reader_done = False

    def _read(self) -> None:
        assert self.process.stdout is not None
        for number, line in enumerate(self.process.stdout):
            stamp = datetime.now(timezone.utc).strftime(f"%Y-%m-%dT%H:%M:%S.%f{number % 1000:03}Z")
            with self.more:
                self.lines.append((stamp, line.rstrip("\n")))
                self.more.notify_all()
        with self.more:
            self._reader_done = True
            self.more.notify_all()


def _resolved(text: bytes) -> bytes:
    """What the cluster's DNS does for pods: here all of them are this machine."""
    return re.sub(rb'("rdzv_endpoint": ")[^":]+:', rb"\g<1>127.0.0.1:", text)


def _field(pod: dict[str, Any], one: dict[str, Any]) -> str:
    path = one["valueFrom"]["fieldRef"]["fieldPath"]
    if found := re.fullmatch(r"metadata\.(annotations|labels)\['(.+)'\]", path):
        return str(pod["metadata"][found[1]][found[2]])
    value: Any = pod
    for part in path.split("."):
        value = value[part]
    return str(value)
