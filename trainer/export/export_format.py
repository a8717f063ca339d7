"""The base class of export formats, and finding a format by its name. Imports no torch.

A format of your own is a subclass of :class:`ExportFormat` and a line of entry points in your package:

.. code-block:: toml

    [project.entry-points."trainer.exporters"]
    onnx-gzip = "my_package.onnx_gzip:OnnxGzip"

Its files are proven, described and packed like those of the built-in formats.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.core import plugins
from trainer.schema import Export

if TYPE_CHECKING:
    import numpy as np

    from trainer.export.graph import Graph
    from trainer.export.metadata import Metadata

GROUP = "trainer.exporters"


@dataclass(frozen=True)
class ExportSettings:
    """What :meth:`ExportFormat.write` needs besides the graph.

    Attributes:
        export: the keys of the export command: ``opset``, ``half``, ``int8``, ``workspace_gb``, ...
        metadata: the content of ``metadata.json``, as far as it is known before the file is written.
        calibration_batches: returns the batches (N, 3, H, W) to measure the ranges of int8 on, in the graph's input
            type. Raises a DatasetError if the run's images are missing.
        log: prints a line about what is being done.
        source: the proven file of the format named by :attr:`ExportFormat.built_from`.
    """

    export: Export
    metadata: Metadata
    calibration_batches: Callable[[], Iterable[np.ndarray]] = field(default=tuple)
    log: Callable[[str], Any] = print
    source: Path | None = None


class ExportFormat:
    """One choice of ``format=``: how its file is written, and what runs it.

    Create it without arguments. A subclass sets the class attributes and overrides :meth:`write`.

    >>> class Pickled(ExportFormat):
    ...     name, suffix = "pickled", ".pkl"
    ...     packages, requirements = ("torch",), ("torch>=2.3",)
    ...     runtime_file = Path("/my_package/pickled_runtime.py")
    ...
    ...     def write(self, graph, settings, path):
    ...         import torch
    ...
    ...         torch.save(graph, path)
    >>> Pickled().missing()

    Attributes:
        name: the name in ``format=`` and in ``metadata.json``; the same as that of the entry point.
        suffix: the suffix of the file that is written, with the dot.
        read_suffixes: further suffixes of files that the runtime loads.
        packages: the modules that must be importable to write and to run a file.
        extra: the extra of this trainer that installs them; None if it has none.
        requirements: what a user of the exported file installs, a line each of its ``requirements.txt``.
        precisions: what it supports of ``fp32``, ``fp16`` (``half=true``) and ``int8``.
        half_with_int8: whether ``half=true int8=true`` is allowed.
        symmetric_int8: whether activations must be quantized with a zero point of 0. It counts for the file that this
            format is built from, too.
        has_opset: whether ``opset`` means something for the file.
        built_from: the format whose file this one is built from; it is exported first.
        device: where the proof runs the file, ``cpu`` or ``cuda``.
        languages: the languages of the example code in the package: ``python``, ``cpp``.
        runtime_file: a stand-alone Python file with the class ``Runtime`` that loads and runs the file; see
            :meth:`open`. It is copied into the package as ``runtimes/python/runtime.py`` and must import nothing of
            the trainer or OpenMMLab. None: ``model_wrapper.py`` has the runtime.
    """

    name: str
    suffix: str
    read_suffixes: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    extra: str | None = None
    requirements: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32",)
    half_with_int8: bool = False
    symmetric_int8: bool = False
    has_opset: bool = False
    built_from: str | None = None
    device: str = "cpu"
    languages: tuple[str, ...] = ("python",)
    runtime_file: Path | None = None

    def missing(self) -> str | None:
        """What this machine lacks to write and run a file, as a clause; None if nothing."""
        for package in self.packages:
            if sys.modules.get(package, True) is None or importlib.util.find_spec(package) is None:
                name = f"'openmmlab-trainer[{self.extra}]'" if self.extra else package
                return f"the package {package} isn't installed; pip install {name}"
        return None

    def supports(self, precision: str) -> bool:
        """Whether a file can be ``fp32``, ``fp16`` or ``int8``."""
        return precision == "fp32" or precision in self.precisions

    def write(self, graph: Graph, settings: ExportSettings, path: Path) -> str | None:
        """Write ``graph`` to ``path``, if possible with ``settings.metadata`` inside.

        Args:
            graph: a torch module on the CPU that maps images (N, 3, H, W), uint8 or float32, to a tuple of tensors in
                the order of ``graph.output_names``.

        Returns:
            The precision of the weights in the file; None if it is what was asked for.

        Raises:
            FrameworkError: the model can't be written in this format.
        """
        raise NotImplementedError

    def sees_gpu(self) -> bool:
        """Whether the runtime can use a GPU of this machine."""
        return False

    def open(self, path: Path, device: str, threads: int | None) -> Any:
        """Load a file with the ``Runtime`` of :attr:`runtime_file`.

        Such a class has:

        - ``__init__(path, device, threads)``: ``device`` is ``cpu`` or ``cuda``; ``threads`` is a number or None;
        - ``name``: the runtime's name and version, for the proof;
        - ``run(input_name, output_names, batch)``: the outputs for a batch (N, 3, H, W) as a list of numpy arrays;
        - ``inside()``: the metadata in the file as a dictionary; empty if it holds none.

        Args:
            device: ``cpu`` or ``cuda``.
            threads: threads of a CPU runtime; None leaves the number to it.

        Returns:
            The runtime; None if ``model_wrapper.py`` has it.
        """
        if self.runtime_file is None:
            return None
        name = f"trainer_export_runtime_{self.name.replace('-', '_')}"
        spec = importlib.util.spec_from_file_location(name, self.runtime_file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look up their module
        spec.loader.exec_module(module)
        return module.Runtime(path, device, threads)


def format_names() -> list[str]:
    """The names of all formats: the built-in ones, then those of plug-ins.

    >>> format_names()[:3]
    ['onnx', 'torchscript', 'tensorrt']
    """
    return plugins.names(GROUP)


def load_format(name: str) -> ExportFormat:
    """The format of that name.

    >>> load_format("onnx").suffix
    '.onnx'

    Raises:
        ConfigError: there is no such format, or its plug-in can't be imported.
    """
    export_format: ExportFormat = plugins.load(GROUP, name)()
    return export_format
