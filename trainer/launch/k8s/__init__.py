"""``launcher=kubernetes``: a job is an Indexed Job of a cluster, or a PyTorchJob of Kubeflow's training operator.

Used on the machine that submits: ``kubernetes_launcher`` (the launcher), ``kubeconfig`` and ``api`` (the cluster and
its objects), ``job_manifest``, ``pod``, ``pod_job`` and ``mounts`` (what is applied), ``job_conditions`` and
``pod_logs`` (what the cluster reports). Run in the pods: ``pod_main``.
"""

from trainer.launch.k8s.kubernetes_launcher import Kubernetes

__all__ = ["Kubernetes"]
