"""``launcher=ray``: a job of a Ray cluster.

Used on the machine that submits, through Ray's job server: ``ray_launcher`` (the launcher), ``job_request`` (what the
job server gets) and ``nodes`` (what fits on the cluster). Run on the cluster: ``training_ranks``, which starts and
supervises a training of several workers.
"""
