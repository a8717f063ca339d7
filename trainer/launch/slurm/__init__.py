"""``launcher=slurm``: a job of a SLURM cluster, which saves and is queued again when its time is over.

Used on the machine that submits: ``slurm_launcher`` (the launcher), ``script`` (what sbatch gets) and ``cli`` (SLURM's
commands). Run on the nodes: ``rank_main`` (each process) and ``job_epilogue`` (the script's last line).
"""
