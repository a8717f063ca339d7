"""A plug-in of the OpenMMLab trainer, whole: see README.md."""
