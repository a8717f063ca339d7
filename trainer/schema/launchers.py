"""The options of each launcher: where a run starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from trainer.schema.declaration import Choice, typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class LauncherConfig(Choice):
    """What every launcher has. A plug-in's launcher names its own subclass as ``config_class``.

    >>> from dataclasses import dataclass
    >>> from trainer.schema import typed_field
    >>> @dataclass
    ... class FluxConfig(LauncherConfig):
    ...     queue: str | None = typed_field(None, "Flux's queue; None: the default one")
    >>> FluxConfig("flux", queue="debug").queue
    'debug'
    """

    group: ClassVar[str] = "launcher"
    name: str = typed_field("local", "how the run is started", kind="choice")
    dry_run: bool = typed_field(False, "print exactly what would be submitted, and stop")
    env: list[str] = typed_field(
        [],
        "environment variables that the job gets besides the trainer's own: NAME (its value here) or NAME=value",
    )


@dataclass
class LocalConfig(LauncherConfig):
    """``launcher=local``: this process, or one in the background."""

    unused: ClassVar[frozenset[str]] = frozenset({"env"})


@dataclass
class ProcessesConfig(LauncherConfig):
    """Launchers that start a training in several processes."""

    nproc: Any = typed_field(
        "auto", "processes of a training on each node; auto: one for each GPU, 1 without GPUs", kind="workers"
    )
    nodes: int = typed_field(1, "machines that a training runs on", ge=1)
    max_restarts: int = typed_field(
        0, "how many times a training restarts from its checkpoint when one of its processes fails", ge=0
    )


@dataclass
class MemoryConfig:
    """Launchers that ask the cluster for memory."""

    memory_gb: float | None = typed_field(
        None, "memory on each node (Ray: of each worker) in GB; None: the cluster's default", gt=0
    )


@dataclass
class AllocationConfig:
    """Launchers that ask a scheduler for GPUs and time."""

    gpus: int | None = typed_field(None, "GPUs on each node; None: none", ge=1)
    time_minutes: float | None = typed_field(
        None, "minutes until the cluster ends the job, which saves first; None: the cluster's limit", gt=0
    )


@dataclass
class GraceConfig:
    """Launchers that stop a job with a signal and kill it later."""

    grace_seconds: int = typed_field(
        300, "seconds between the signal to stop and the kill; a checkpoint must be saved within them", ge=1
    )


@dataclass
class RendezvousConfig:
    """Where torchrun's agents on several machines meet."""

    rdzv_endpoint: str | None = typed_field(
        None, "several machines: where they meet, host:port of one of them"
    )
    rdzv_id: str | None = typed_field(None, "several machines: the training's name, the same on each of them")
    rdzv_backend: str = typed_field("c10d", "how the machines meet", choices=("c10d", "static"))
    node_rank: int | None = typed_field(
        None, "this machine's number, counted from 0; None: in the order in which they meet", ge=0
    )
    local_addr: str | None = typed_field(
        None, "the address by which the other machines reach this one; None: the address of its host name"
    )


@dataclass
class TorchrunConfig(RendezvousConfig, GraceConfig, ProcessesConfig):
    """``launcher=torchrun``: several processes here, or on several machines."""

    name: str = typed_field("torchrun", "how the run is started", kind="choice")


@dataclass
class SlurmConfig(AllocationConfig, MemoryConfig, ProcessesConfig):
    """``launcher=slurm``: a job of a SLURM cluster."""

    name: str = typed_field("slurm", "how the run is started", kind="choice")
    partition: str | None = typed_field(None, "SLURM's partition; None: the cluster's default")
    account: str | None = typed_field(None, "the account that SLURM charges")
    qos: str | None = typed_field(None, "SLURM's quality of service")
    constraint: str | None = typed_field(
        None, "features that a node must have, in sbatch's notation: a100|h100"
    )
    nodelist: str | None = typed_field(None, "nodes that the job must include: gpu[01-04]")
    exclude: str | None = typed_field(None, "nodes that the job must not use")
    cpus_per_task: int | None = typed_field(
        None, "cores of each process; None: the cluster's default, often one", ge=1
    )
    signal_delay_s: int = typed_field(
        120, "seconds before its time limit at which a job saves and requeues itself", ge=0
    )
    setup: list[str] = typed_field([], "shell lines that run before the trainer: module load cuda/12.4")
    sbatch: dict[str, Any] = typed_field(
        {}, "any other option of sbatch: mail-type: END, reservation: mine; true for a flag without a value"
    )
    srun: list[str] = typed_field([], "further options of srun: --container-image=...")
    interpreter: str | None = typed_field(
        None,
        "the command that starts Python on the nodes: apptainer exec image.sif python; None: this Python",
    )


@dataclass
class RayConfig(MemoryConfig, ProcessesConfig):
    """``launcher=ray``: a Ray cluster, each process of a training a worker."""

    name: str = typed_field("ray", "how the run is started", kind="choice")
    address: str = typed_field(
        "auto",
        "the cluster: http://<head>:8265 or ray://<head>:10001; auto: RAY_ADDRESS, or the cluster of this machine",
    )
    num_cpus: float = typed_field(1.0, "cores that each worker of a training holds", gt=0)
    num_gpus: float = typed_field(0.0, "GPUs that each worker holds; 0.5: two workers share one", ge=0)
    resources: dict[str, Any] = typed_field({}, "custom resources of the cluster that each worker holds")
    placement: str = typed_field(
        "auto",
        "Ray's placement strategy for the workers; auto: PACK on one node, SPREAD over several",
        choices=("auto", "PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"),
    )
    runtime_env: dict[str, Any] = typed_field({}, "Ray's runtime environment: image_uri, env_vars ...")
    remote_python: str | None = typed_field(
        None, "Python on the cluster's machines; None: the same path as here"
    )
    stop_seconds: int = typed_field(
        120, "seconds that a training has to save its checkpoint when Ray stops it", ge=1
    )


@dataclass
class KubernetesConfig(RendezvousConfig, GraceConfig, AllocationConfig, MemoryConfig, ProcessesConfig):
    """``launcher=kubernetes``: a Job of a Kubernetes cluster. The launcher itself says where the pods meet."""

    unused: ClassVar[frozenset[str]] = frozenset(RendezvousConfig.__dataclass_fields__)

    name: str = typed_field("kubernetes", "how the run is started", kind="choice")
    kind: str = typed_field(
        "job",
        "the object that is created: an Indexed Job, or Kubeflow's PyTorchJob",
        choices=("job", "pytorchjob"),
    )
    image: str | None = typed_field(None, "the container image that holds this trainer")
    image_pull_policy: str | None = typed_field(
        None,
        "when the image is pulled; None: Kubernetes decides by the tag",
        choices=("Always", "IfNotPresent", "Never"),
    )
    image_pull_secrets: list[str] = typed_field([], "secrets with the credentials of the image's registry")
    namespace: str | None = typed_field(None, "the namespace; None: the context's")
    context: str | None = typed_field(None, "the kubeconfig's context; None: the current one")
    kubeconfig: str | None = typed_field(
        None, "the kubeconfig file; None: KUBECONFIG, ~/.kube/config, or the pod's own account", kind="path"
    )
    gpu_resource: str = typed_field("nvidia.com/gpu", "the cluster's resource name of a GPU")
    cpus: float | None = typed_field(None, "cores of each pod; None: the namespace's default", gt=0)
    shm_gb: float = typed_field(
        8.0, "size of /dev/shm for data loader workers, in GB; it counts as the pod's memory", gt=0
    )
    pvc: list[str] = typed_field(
        [], "persistent volume claims: claim:/path, claim/folder:/path, claim:/path:ro"
    )
    output_dir: str | None = typed_field(
        None, "output_dir inside the pods, a path in a claim; None: the same as output_dir"
    )
    node_selector: dict[str, Any] = typed_field({}, "labels that a node must have")
    tolerations: list[str] = typed_field(
        [], "taints that the pods tolerate, in kubectl's notation: key, key:Effect, key=value:Effect"
    )
    priority_class: str | None = typed_field(None, "the pods' priority class")
    service_account: str | None = typed_field(
        None, "the pods' service account, with its token mounted; None: no token"
    )
    env_from: list[str] = typed_field([], "secrets of the cluster whose keys become environment variables")
    labels: dict[str, Any] = typed_field({}, "labels of every object that is created")
    annotations: dict[str, Any] = typed_field({}, "annotations of the job and its pods")
    workdir: str | None = typed_field(
        "/workspace",
        "the folder that the trainer starts in, empty unless a claim is mounted there; None: the image's",
    )
    python: str = typed_field("python", "the image's Python")
    user: int | None = typed_field(1000, "user and group id of the pods; None: the cluster chooses", ge=1)
    ttl_seconds: int | None = typed_field(
        86400, "seconds that the job object stays after its end; None: forever", ge=0
    )
    port: int = typed_field(
        29500, "the port of the first pod where the pods of several nodes meet", ge=1, le=65535
    )
