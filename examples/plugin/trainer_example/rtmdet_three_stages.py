"""RTMDet-tiny on the small backbone, as an ordinary MMEngine config."""

_base_ = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"

custom_imports = dict(imports=["trainer_example.modules"])
model = dict(
    backbone=dict(_delete_=True, type="ThreeStages", widths=(32, 64, 128)),
    neck=dict(in_channels=[32, 64, 128]),
)
