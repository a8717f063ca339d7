"""TensorBoard's event files: records of protocol buffers with checksums. A few fields are all that scalars need.

A file of our own can be cut back to a known length, which is how nothing is in it twice; the library's writer only
appends to new files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from trainer.tracking.metric_mapping import Point

_POLYNOMIAL = 0x82F63B78  # CRC-32C, reversed


def header(seconds: float) -> bytes:
    """The first record of a file, which names its version."""
    return _record(_double(1, seconds) + _bytes(3, b"brain.Event:2"))


def scalars(points: Iterable[Point]) -> bytes:
    """One record for each value."""
    return b"".join(_record(_event(point)) for point in points)


def _event(point: Point) -> bytes:
    # Summary.Value: tag = 1, simple_value = 2; Summary: value = 1; Event: wall_time = 1, step = 2, summary = 5.
    value = _bytes(1, point.key.encode()) + _tag(2, 5) + struct.pack("<f", _as_float(point.value))
    return _double(1, point.time_ms / 1000) + _tag(2, 0) + _varint(point.step) + _bytes(5, _bytes(1, value))


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """CRC-32C, masked as TFRecord files have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _as_float(value: float) -> float:
    """The value where 32 bits hold it, else the largest they hold."""
    largest = 3.4028234e38
    return max(-largest, min(largest, value))


def _double(field: int, value: float) -> bytes:
    return _tag(field, 1) + struct.pack("<d", value)


def _bytes(field: int, data: bytes) -> bytes:
    return _tag(field, 2) + _varint(len(data)) + data


def _tag(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()
