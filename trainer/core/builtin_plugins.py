"""The choices that this package brings itself, in the form of entry points: ``group -> name -> module:attribute``.

A table of strings, so that nothing is imported to list them. An entry's module is imported when it is chosen.
"""

from __future__ import annotations

BUILT_IN: dict[str, dict[str, str]] = {
    "trainer.formats": {
        "dice": "trainer.data.formats.dice",
        "coco": "trainer.data.formats.coco",
        "yolo": "trainer.data.formats.yolo",
        "voc": "trainer.data.formats.voc",
        "labelme": "trainer.data.formats.labelme",
        "masks": "trainer.data.formats.masks",
    },
    "trainer.launchers": {
        "local": "trainer.launch.local:Local",
        "torchrun": "trainer.launch.torchrun:Torchrun",
        "slurm": "trainer.launch.slurm.slurm_launcher:Slurm",
        "ray": "trainer.launch.ray_cluster.ray_launcher:RayCluster",
        "kubernetes": "trainer.launch.k8s.kubernetes_launcher:Kubernetes",
    },
    "trainer.trackers": {
        "mlflow": "trainer.tracking.mlflow_sink:MlflowSink",
        "tensorboard": "trainer.tracking.tensorboard_sink:TensorboardSink",
    },
    "trainer.callbacks": {},
    "trainer.metrics": {
        "box": "trainer.engine.metrics.box_metrics:BoxMetrics",
        "mask": "trainer.engine.metrics.mask_metrics:MaskMetrics",
        "pose": "trainer.engine.metrics.pose_metrics:PoseMetrics",
        "segmentation": "trainer.engine.metrics.segmentation_metrics:SegMetrics",
    },
    "trainer.exporters": {},
}
