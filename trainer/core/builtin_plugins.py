"""The choices that this package brings itself, in the form of entry points: ``group -> name -> module:attribute``.

A table of strings, so that nothing is imported to list them. An entry's module is imported when it is chosen.
"""

from __future__ import annotations

BUILT_IN: dict[str, dict[str, str]] = {
    "trainer.formats": {
        "dice": "trainer.data.formats.dice:DiceFormat",
        "coco": "trainer.data.formats.coco:CocoFormat",
        "yolo": "trainer.data.formats.yolo:YoloFormat",
        "voc": "trainer.data.formats.voc:VocFormat",
        "labelme": "trainer.data.formats.labelme:LabelmeFormat",
        "masks": "trainer.data.formats.masks:MaskFormat",
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
    "trainer.callbacks": {
        "platform": "trainer.platform.run_callback:PlatformRunCallback",
    },
    "trainer.metrics": {
        "box": "trainer.engine.metrics.box_metrics:BoxMetrics",
        "mask": "trainer.engine.metrics.mask_metrics:MaskMetrics",
        "pose": "trainer.engine.metrics.pose_metrics:PoseMetrics",
        "segmentation": "trainer.engine.metrics.segmentation_metrics:SegMetrics",
    },
    "trainer.exporters": {
        "onnx": "trainer.export.onnx_format:OnnxFormat",
        "torchscript": "trainer.export.torchscript_format:TorchScriptFormat",
        "tensorrt": "trainer.export.tensorrt_format:TensorRTFormat",
    },
}
