"""``python -m trainer.launch.torchrun_supervisor <folder>``: supervise torchrun's processes on a machine.

Imports no torch. Passes a signal on once to each process of the training, however often a terminal sends it. The exit
code is the trainer's, not torchrun's.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence

from trainer.core.processes import kill_tree, start_in_background
from trainer.core.secrets import mask_text
from trainer.core.stop_handler import StopHandler
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes
from trainer.launch.rank_failures import RankEnding, find_ending, kill_leftovers, newest_attempts
from trainer.launch.torchrun_command import agent_command, agent_environment
from trainer.launch.variables import LAUNCHED, SEVERAL


def main(folder: str) -> int:
    """Run the job of a folder through torchrun. Returns the trainer's exit code."""
    job = Job.load(folder)
    handle = os.environ.setdefault(LAUNCHED, f"local:{os.getpid()}")
    notes = JobNotes(job.folder)
    notes.started(handle)
    end = RankEnding(1)
    try:
        end = supervise(agent_command(job), agent_environment(job), job)
    except SystemExit as stop:
        end = RankEnding(stop.code if isinstance(stop.code, int) else 1)
    finally:
        notes.ended(end.exit_code, end.error)
    return end.exit_code


def supervise(command: Sequence[str], environment: Mapping[str, str], job: Job) -> RankEnding:
    """Start torchrun's agent, wait for it, pass signals on, and find out why the training ended.

    The first signal is passed on to the agent, a second one kills all processes.

    Args:
        command: the agent's command line.
        environment: the agent's own variables.
        job: the job.
    """
    since, agent = time.time(), None

    def stop_agent(signum: int, count: int) -> None:
        if agent is None:
            raise SystemExit(128 + signum)
        if count == 1:
            agent.send_signal(signum)
        else:
            kill_tree(agent.pid)

    with StopHandler(stop_agent) as stop:
        # In a session of its own, so that a terminal's Ctrl-C reaches this process alone.
        agent = start_in_background(
            command,
            environment={**os.environ, **job.environment, **environment, SEVERAL: "1"},
            cwd=job.cwd,
            stop_with_parent=True,
        )
        code = agent.wait()
    if code == 0:
        return RankEnding(0)
    attempts = newest_attempts(job.folder, since)
    kill_leftovers(attempts)
    end = find_ending(attempts, stop.received)
    if end.rank and end.error:  # an error of the first process is on its terminal already
        message = mask_text(f"process {end.rank}: {end.error['message']}")
        print(f"{end.error['kind']}: {message}", file=sys.stderr)
    if end.rank is None and end.exit_code == 1 and not stop.received:
        print("ResourceError: the processes of this training were killed, or crashed", file=sys.stderr)
    return end


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
