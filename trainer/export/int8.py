"""8-bit integers: ONNX static quantization of the network, its ranges measured on real images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import DatasetError, FrameworkError
from trainer.export.precision import in_network

OPERATORS = ["Conv", "ConvTranspose", "MatMul", "Gemm"]
"""What becomes 8-bit. The rest stays float32: little is won there, and the decoding would lose its coordinates."""


def quantize(path: Path, inputs: Iterable[np.ndarray], name: str, *, symmetric: bool = False) -> int:
    """Quantize the network in an ONNX file in place, as Q/DQ pairs with a scale for each channel.

    Args:
        inputs: batches for the file's input ``name``, of which the ranges are measured.
        symmetric: zero is 0 in activations, too, as TensorRT wants it.

    Returns:
        How many images were looked at.

    Raises:
        DatasetError: there are none.
        FrameworkError: onnxruntime can't quantize this file.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    reader = _reader(inputs, name)
    logging.getLogger().addFilter(_no_hint)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".int8-") as folder:
            prepared, done = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
            # Batch norms and the like go into the convolutions first.
            quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
            outside = [
                node.name
                for node in onnx.load(prepared).graph.node
                if node.op_type in OPERATORS and not in_network(node.name)
            ]
            quantize_static(
                str(prepared),
                str(done),
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=OPERATORS,
                nodes_to_exclude=outside,
                per_channel=True,
                # A CPU without VNNI adds two products in 16 bits, which a whole byte of weight overflows.
                reduce_range=not symmetric,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
            )
            content = done.read_bytes()
    except Exception as error:
        if not reader.count:
            raise DatasetError("int8=true: there are no images to calibrate on") from None
        reason = " ".join(str(error).split())[:300]
        raise FrameworkError(
            f"int8=true: this file can't be quantized: {type(error).__name__}: {reason}"
        ) from error
    finally:
        logging.getLogger().removeFilter(_no_hint)
    atomic_write(path, content)
    return reader.count


def _no_hint(record: logging.LogRecord) -> bool:
    """onnxruntime says on the root logger that a model should be prepared; it was."""
    return "pre-processing before quantization" not in record.getMessage()


def _reader(inputs: Iterable[np.ndarray], name: str) -> _Reader:
    return _Reader(inputs, name)


class _Reader:
    """What onnxruntime's calibration reads: a batch at a time, None at the end."""

    def __init__(self, inputs: Iterable[np.ndarray], name: str) -> None:
        self._inputs: Iterator[np.ndarray] = iter(inputs)
        self.name, self.count = name, 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._inputs, None)
        if batch is None:
            return None
        self.count += len(batch)
        return {self.name: batch}

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        batch = self.get_next()
        if batch is None:
            raise StopIteration
        return batch
