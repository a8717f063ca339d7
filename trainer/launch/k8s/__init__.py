"""launcher=kubernetes: a job is an Indexed Job, or Kubeflow's PyTorchJob, of a cluster."""

from trainer.launch.k8s.kubernetes_launcher import Kubernetes

__all__ = ["Kubernetes"]
