"""CRC-32C (Castagnoli), which TFRecord files carry, computed with NumPy alone.

A CRC is linear: the register after A then B is that of A, pushed through as many zero bits as B has, XOR that of B. So
a message is cut into rows, all rows are taken through the table at once, and neighbours are merged until one is left.
Leading zeros leave an empty register empty, so rows may be padded in front.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed."""
ONES = 0xFFFFFFFF
ROW = 128
"""Bytes a row; a power of two."""
Register = NDArray[np.uint32]


def crc32c(content: bytes | memoryview) -> int:
    """Return the CRC-32C of some bytes, 0 .. 2^32 - 1."""
    count = len(content)
    if count < ROW:
        return _bytewise(bytes(content))
    padded = np.zeros(-(-count // ROW) * ROW, np.uint8)
    padded[-count:] = np.frombuffer(content, np.uint8)
    padded[len(padded) - count : len(padded) - count + 4] ^= 0xFF  # the register starts with ones
    register, power = _rows(padded.reshape(-1, ROW)), ROW.bit_length() - 1
    while len(register) > 1:
        if len(register) % 2:
            register = np.concatenate([np.zeros(1, np.uint32), register])
        register = _push(register[0::2], _zeros(power)) ^ register[1::2]
        power += 1
    return int(register[0]) ^ ONES


def masked(content: bytes | memoryview) -> int:
    """Return the CRC as TFRecord keeps it: rotated by 15 bits and a constant added."""
    crc = crc32c(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & ONES


def _rows(rows: NDArray[np.uint8]) -> Register:
    """Return the register after each row, from an empty one."""
    table = _table()
    words = rows.view("<u2").T.astype(np.uint32)
    register = np.zeros(len(rows), np.uint32)
    for word in words:
        register = table[(register ^ word) & 0xFFFF] ^ (register >> np.uint32(16))
    return register


def _push(register: Register, columns: Register) -> Register:
    """Apply a linear map to every register; column i is what bit i becomes."""
    out = np.zeros_like(register)
    for bit in range(32):
        out ^= ((register >> np.uint32(bit)) & np.uint32(1)) * columns[bit]
    return out


@lru_cache(maxsize=64)
def _zeros(power: int) -> Register:
    """Return the map that 2 ** power zero bytes are."""
    if power == 0:
        units = np.uint32(1) << np.arange(32, dtype=np.uint32)
        return _byte_table()[units & 0xFF] ^ (units >> np.uint32(8))
    half = _zeros(power - 1)
    return _push(half, half)


@lru_cache(maxsize=1)
def _byte_table() -> Register:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ ((table & np.uint32(1)) * np.uint32(POLYNOMIAL))
    return table


@lru_cache(maxsize=1)
def _table() -> Register:
    """Return what 16 bits at once do to the register."""
    table, one = np.arange(1 << 16, dtype=np.uint32), _byte_table()
    for _ in range(2):
        table = one[table & 0xFF] ^ (table >> np.uint32(8))
    return table


def _bytewise(content: bytes) -> int:
    register, table = ONES, _byte_list()
    for byte in content:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ ONES


@lru_cache(maxsize=1)
def _byte_list() -> list[int]:
    return _byte_table().tolist()
