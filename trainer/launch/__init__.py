"""Starting a command elsewhere: detached on this machine, by torchrun, SLURM, Ray or Kubernetes, with one handle.

What is typed travels in a file (:mod:`trainer.launch.job`); every launcher runs :mod:`trainer.launch.job_main` with it.
"""

# Set, to the handle, in what a launcher has started: it runs there and is not launched once more.
LAUNCHED = "TRAINER_LAUNCHED"
# Set where one process keeps those of a training and tells how the job is doing; theirs is told beside it.
SEVERAL = "TRAINER_SEVERAL"
