"""Where and how often something is run: launchers and sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.schema.declaration import typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


LAUNCHERS = ("local", "torchrun", "slurm", "ray", "kubernetes")
_SEVERAL = LAUNCHERS[1:]
_SCHEDULED = ("slurm", "kubernetes")
_GIVING = ("slurm", "kubernetes", "ray")
_SLURM = ("slurm",)
_K8S = ("kubernetes",)
_TORCHRUN = ("torchrun",)
_RAY = ("ray",)
SAMPLERS = ("grid", "tpe", "random", "cmaes", "gp", "nsgaii", "nsgaiii", "qmc", "auto")
PRUNERS = (
    *("none", "median", "hyperband", "successive_halving"),
    *("patient", "threshold", "percentile"),
)


@dataclass
class LauncherConfig:
    name: str = typed_field("local", "how the run is started", choices=LAUNCHERS)
    dry_run: bool = typed_field(False, "print exactly what would be submitted, and stop")
    env: list[str] = typed_field(
        [],
        "variables that the job gets besides the trainer's own: NAME as it is here, or NAME=value",
        only=_SEVERAL,
    )
    nproc: Any = typed_field(
        "auto",
        "processes of a training on each node; auto: one a GPU, 1 without",
        kind="workers",
        only=_SEVERAL,
    )
    nodes: int = typed_field(1, "machines that a training runs on", ge=1, only=_SEVERAL)
    max_restarts: int = typed_field(
        0,
        "times a training is started again, from its checkpoint, when one of its processes fails",
        ge=0,
        only=_SEVERAL,
    )
    rdzv_endpoint: str | None = typed_field(
        None, "several machines: where they meet, host:port of one of them", only=_TORCHRUN
    )
    rdzv_id: str | None = typed_field(
        None, "several machines: the training's name, the same on each of them", only=_TORCHRUN
    )
    rdzv_backend: str = typed_field(
        "c10d", "how the machines meet", choices=("c10d", "static"), only=_TORCHRUN
    )
    node_rank: int | None = typed_field(
        None, "this machine's number from 0; None: as they happen to meet", ge=0, only=_TORCHRUN
    )
    local_addr: str | None = typed_field(
        None, "the address by which the others reach this machine; None: that of its name", only=_TORCHRUN
    )
    gpus: int | None = typed_field(None, "GPUs on each node; None: none", ge=1, only=_SCHEDULED)
    memory_gb: float | None = typed_field(
        None, "memory on each node (Ray: of each worker), GB; None: as the cluster gives", gt=0, only=_GIVING
    )
    time_minutes: float | None = typed_field(
        None, "minutes after which the cluster ends the job, which saves first; None: no end of its own",
        gt=0, only=_SCHEDULED,
    )  # fmt: skip
    partition: str | None = typed_field(
        None, "SLURM's partition; None: the cluster's own choice", only=_SLURM
    )
    account: str | None = typed_field(None, "whom SLURM charges", only=_SLURM)
    qos: str | None = typed_field(None, "SLURM's quality of service", only=_SLURM)
    constraint: str | None = typed_field(
        None, "features that a node must have, as sbatch has them: a100|h100", only=_SLURM
    )
    nodelist: str | None = typed_field(None, "nodes that must be among the job's: gpu[01-04]", only=_SLURM)
    exclude: str | None = typed_field(None, "nodes that must not be", only=_SLURM)
    cpus_per_task: int | None = typed_field(
        None, "cores of each process; None: as the cluster gives, often one", ge=1, only=_SLURM
    )
    signal_delay_s: int = typed_field(
        120, "seconds before the end of its time in which a job saves and goes back into the queue",
        ge=0, only=_SLURM,
    )  # fmt: skip
    setup: list[str] = typed_field(
        [], "lines of the shell before it starts: module load cuda/12.4", only=_SLURM
    )
    sbatch: dict[str, Any] = typed_field(
        {}, "any other option of sbatch: mail-type: END, reservation: mine; true for one without a value",
        only=_SLURM,
    )  # fmt: skip
    srun: list[str] = typed_field([], "further options of srun: --container-image=...", only=_SLURM)
    interpreter: str | None = typed_field(
        None,
        "what starts Python on the nodes, apptainer exec image.sif python; None: this Python",
        only=_SLURM,
    )
    kind: str = typed_field(
        "job", "the object that is made: an Indexed Job, or Kubeflow's PyTorchJob",
        choices=("job", "pytorchjob"), only=_K8S,
    )  # fmt: skip
    image: str | None = typed_field(None, "the container image that holds this trainer", only=_K8S)
    image_pull_policy: str | None = typed_field(
        None, "when the image is fetched; None: as Kubernetes does by its tag",
        choices=("Always", "IfNotPresent", "Never"), only=_K8S,
    )  # fmt: skip
    image_pull_secrets: list[str] = typed_field([], "secrets that open the image's registry", only=_K8S)
    namespace: str | None = typed_field(None, "the namespace; None: the context's", only=_K8S)
    context: str | None = typed_field(None, "kubeconfig's context; None: the current one", only=_K8S)
    kubeconfig: str | None = typed_field(
        None, "the kubeconfig; None: KUBECONFIG, ~/.kube/config, or the pod's own account",
        kind="path", only=_K8S,
    )  # fmt: skip
    gpu_resource: str = typed_field("nvidia.com/gpu", "what the cluster calls a GPU", only=_K8S)
    cpus: float | None = typed_field(None, "cores of each pod; None: as the namespace gives", gt=0, only=_K8S)
    shm_gb: float = typed_field(
        8.0, "most of /dev/shm, GB of the pod's memory, for data workers", gt=0, only=_K8S
    )
    pvc: list[str] = typed_field(
        [], "persistent volume claims: claim:/path, claim/folder:/path, claim:/path:ro", only=_K8S
    )
    output_dir: str | None = typed_field(
        None, "the pods' output_dir, a path in a claim; None: as output_dir", only=_K8S
    )
    node_selector: dict[str, Any] = typed_field({}, "labels that a node must have", only=_K8S)
    tolerations: list[str] = typed_field(
        [], "taints that don't matter, as kubectl writes them: key, key:Effect, key=value:Effect", only=_K8S
    )
    priority_class: str | None = typed_field(None, "the pods' priority class", only=_K8S)
    service_account: str | None = typed_field(
        None, "the pods' service account, its token mounted; None: no token", only=_K8S
    )
    env_from: list[str] = typed_field([], "secrets of the cluster whose keys become variables", only=_K8S)
    labels: dict[str, Any] = typed_field({}, "labels of all that is made", only=_K8S)
    annotations: dict[str, Any] = typed_field({}, "annotations of the job and its pods", only=_K8S)
    workdir: str | None = typed_field(
        "/workspace",
        "the folder that it starts in, empty unless a claim is there; None: the image's",
        only=_K8S,
    )
    python: str = typed_field("python", "the image's Python", only=_K8S)
    user: int | None = typed_field(
        1000, "user and group of the pods; None: the cluster chooses", ge=1, only=_K8S
    )
    grace_seconds: int = typed_field(
        300,
        "seconds from being told to stop until it is killed; saving must fit in",
        ge=1,
        only=("torchrun", "kubernetes"),
    )
    ttl_seconds: int | None = typed_field(
        86400, "seconds after its end in which the job is still there; None: for ever", ge=0, only=_K8S
    )
    port: int = typed_field(
        29500, "where the pods of several nodes meet, on the first", ge=1, le=65535, only=_K8S
    )
    address: str = typed_field(
        "auto",
        "the cluster: http://<head>:8265, ray://<head>:10001; auto: RAY_ADDRESS, or the one on this machine",
        only=_RAY,
    )
    num_cpus: float = typed_field(1.0, "cores that each worker of a training holds", gt=0, only=_RAY)
    num_gpus: float = typed_field(0.0, "GPUs that each worker holds, 0.5: two share one", ge=0, only=_RAY)
    resources: dict[str, Any] = typed_field(
        {}, "the cluster's own resources that each worker holds", only=_RAY
    )
    placement: str = typed_field(
        "auto", "where workers are placed; auto: PACK on one node, SPREAD over several",
        choices=("auto", "PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"), only=_RAY,
    )  # fmt: skip
    runtime_env: dict[str, Any] = typed_field(
        {}, "Ray's runtime environment: image_uri, env_vars ...", only=_RAY
    )
    remote_python: str | None = typed_field(
        None, "Python on the cluster's machines; None: the same path as here", only=_RAY
    )
    stop_seconds: int = typed_field(
        120, "seconds in which a training may save when Ray itself stops it", ge=1, only=_RAY
    )


@dataclass
class Launch:
    detach: bool = typed_field(
        False, "start it, print its handle, and end; status, logs, cancel and resume take that"
    )


@dataclass
class Sweep:
    name: str = typed_field("grid", "the sweep: every combination, Optuna, or a ready search space")
    sampler: str = typed_field("grid", "who chooses the next trial's values", choices=SAMPLERS)
    sampler_options: dict[str, Any] = typed_field({}, "arguments of Optuna's sampler, n_startup_trials: 5")
    pruner: str = typed_field(
        "none", "who stops hopeless trials early, by the primary metric", choices=PRUNERS
    )
    pruner_options: dict[str, Any] = typed_field({}, "arguments of Optuna's pruner, n_warmup_steps: 3")
    n_trials: int | None = typed_field(
        None, "trials in all, finished or pruned; None: every combination of a grid, otherwise 20", ge=1
    )
    max_minutes: float | None = typed_field(None, "minutes after which no trial is started any more", gt=0)
    workers: Any = typed_field("auto", "trials at a time; auto: what cores and GPUs allow", kind="workers")
    gpus_per_trial: float = typed_field(1.0, "GPUs a trial gets; 0.5: two share one", gt=0)
    threads: int | None = typed_field(None, "CPU threads a trial gets; None: its share of the cores", ge=1)
    objectives: list[str] = typed_field(
        [], "metrics to improve, name or name:min; none: the task's primary metric"
    )
    params: dict[str, Any] = typed_field(
        {}, "what is searched: key, or 'key if group=choice', to choice(..), range(..), interval(..)"
    )
    constraints: list[str] = typed_field([], "what a good trial must fulfil: 'parameters <= 10e6'")
    storage: str | None = typed_field(
        None, "where trials are kept, a database's URL; None: a journal file in the sweep's folder"
    )
    study: str | None = typed_field(None, "the sweep's name; None: from what was typed")
    seed: int = typed_field(0, "seed of the sampler", ge=0)
    max_failures: int = typed_field(3, "failed trials after which the sweep stops", ge=1)
    retries: int = typed_field(1, "times a trial is started again after its process was killed", ge=0)
    lease_seconds: float = typed_field(
        60.0, "a running trial whose driver hasn't been heard of for so long is taken over", gt=0
    )
    warm: Any = typed_field("auto", "start trials from a process that has imported everything", kind="switch")
    fresh: bool = typed_field(False, "start anew, whatever is left of an earlier sweep of that name")
