"""A launcher that an installed package brings: the launchers' contract, through the same command line."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

import trainer.schema
from tests.launch.contract import ROOT, LauncherContract, Site
from trainer.core import plugins
from trainer.core.errors import ConfigError, ResourceError
from trainer.launch import launcher_registry
from trainer.launch.handle import Handle
from trainer.schema import LauncherConfig

MODULE = '''
"""Jobs are background processes, by the name of their folder."""
import os, signal, subprocess, sys, time
from trainer.launch import DryRun, DryRunPart, Handle, JobNotes, Launcher, record_job


class Toy(Launcher):
    def plan(self, job):
        return DryRun.of(job, [DryRunPart("the toy cluster's job", " ".join(self.command(job)))])

    def command(self, job):
        return [sys.executable, "-m", "trainer.launch.job_main", str(job.folder)]

    def submit(self, job):
        job.save()
        JobNotes(job.folder).uncancel()
        handle = Handle(self.scheme, job.folder.name)
        with (job.folder / "toy.log").open("ab") as log:
            environment = {**os.environ, "TRAINER_LAUNCHED": str(handle)}
            process = subprocess.Popen(
                self.command(job), cwd=job.cwd, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        return record_job(job, handle, pid=process.pid)

    def status(self, launched):
        return JobNotes(launched.folder).status(self.runs(launched), launched.run_dir)

    def runs(self, launched):
        try:
            state = open(f"/proc/{launched.facts['pid']}/stat").read().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state != "Z"

    def logs(self, launched, follow=False):
        while follow and self.runs(launched):
            time.sleep(0.1)
        yield from (launched.folder / "toy.log").read_text().splitlines()

    def cancel(self, launched, now=False):
        if self.runs(launched):
            JobNotes(launched.folder).cancel()
            os.kill(launched.facts["pid"], signal.SIGKILL if now else signal.SIGTERM)


class Needy(Toy):
    requires = ("package_that_nobody_has", "engine")


class Odd:
    """No launcher."""
'''
ENTRY_POINTS = """
[trainer.launchers]
toy = toy_launchers:Toy
needy = toy_launchers:Needy
odd = toy_launchers:Odd
"""
# The schema's own list of names had no room for others.
ACCEPTS_PLUGINS = not hasattr(trainer.schema, "LAUNCHERS")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the package is installed in; on the path of this process and of those below it."""
    folder = tmp_path_factory.mktemp("site-packages")
    (folder / "toy_launchers.py").write_text(MODULE)
    (folder / "toys-1.0.dist-info").mkdir()
    (folder / "toys-1.0.dist-info" / "entry_points.txt").write_text(textwrap.dedent(ENTRY_POINTS))
    (folder / "conf" / "launcher").mkdir(parents=True)
    (folder / "conf" / "launcher" / "toy.yaml").write_text("name: toy\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join((str(folder), str(ROOT))))
        yield folder


@pytest.mark.skipif(not ACCEPTS_PLUGINS, reason="launcher.name takes the names of this package only")
class TestToy(LauncherContract):
    words: ClassVar[list[str]] = ["launcher=toy"]

    @pytest.fixture(scope="class", autouse=True)
    def configuration(self, site: Site, installed: Path) -> None:
        site.config_dirs.append(installed / "conf")


@pytest.mark.usefixtures("installed")
class TestRegistry:
    def test_it_is_listed_and_found(self) -> None:
        assert plugins.names("trainer.launchers")[-3:] == ["needy", "odd", "toy"]
        made = launcher_registry.make_launcher(toy_options())
        assert type(made).__name__ == "Toy" and made.scheme == "toy"

    def test_its_handles_begin_with_its_name(self) -> None:
        assert str(Handle.parse("toy:check-1")) == "toy:check-1"
        with pytest.raises(ConfigError, match=r"Did you mean 'toy'\? Handles are local:<pid>, .*toy:<id>"):
            Handle.parse("toi:1")

    def test_a_package_that_it_needs(self) -> None:
        options = dataclasses.replace(toy_options(), name="needy")
        with pytest.raises(ResourceError, match=r"package_that_nobody_has: pip install 'toys\[engine\]'"):
            launcher_registry.make_launcher(options)

    def test_a_class_that_is_no_launcher(self) -> None:
        with pytest.raises(
            ConfigError, match="launcher=odd: toy_launchers:Odd of the plug-in toys is not a subclass"
        ):
            launcher_registry.launcher_class("odd")
        with pytest.raises(ConfigError, match="'odd:1' is not a handle"):
            Handle.parse("odd:1")

    def test_an_unknown_name(self) -> None:
        with pytest.raises(
            ConfigError, match="there is no 'toi' among trainer.launchers. Did you mean 'toy'"
        ):
            launcher_registry.launcher_class("toi")


def toy_options() -> LauncherConfig:
    return dataclasses.replace(LauncherConfig(), name="toy")
