"""The formats that data sets come in: how each is recognised, read and written.

A format is a subclass of :class:`DataFormat`, registered as an entry point in the group ``trainer.formats``. The
names below are what a plug-in needs to write one.
"""

from trainer.data.files import Folder
from trainer.data.formats.data_format import DataFormat, FormatPart, new_records, opened
from trainer.data.formats.open_image import open_image
from trainer.data.labels import read_annotation
from trainer.data.records import Annotation, Category, ImageRecord, Problems, Records

__all__ = [
    "Annotation",
    "Category",
    "DataFormat",
    "Folder",
    "FormatPart",
    "ImageRecord",
    "Problems",
    "Records",
    "new_records",
    "open_image",
    "opened",
    "read_annotation",
]
