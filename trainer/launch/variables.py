"""Environment variables that tell a process how it was launched."""

# The job's handle, in every process that a launcher has started: such a process runs the command and doesn't launch it
# again.
LAUNCHED = "TRAINER_LAUNCHED"
# Set where one process supervises the processes of a training and reports the state of the job; each of them then
# reports its own state beside it.
SEVERAL = "TRAINER_SEVERAL"
