from __future__ import annotations

import numpy as np
import pytest

from sinew.core.crc32c import crc32c, masked

KNOWN = {  # RFC 3720, B.4, and the check value of the catalogue
    b"123456789": 0xE3069283,
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    b"": 0,
}


@pytest.mark.parametrize("content", KNOWN)
def test_known_values(content: bytes) -> None:
    assert crc32c(content) == KNOWN[content]


def bit_by_bit(content: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize("count", [1, 3, 127, 128, 129, 256, 1000, 12_345])
def test_rows_at_once_give_what_one_bit_after_the_other_gives(count: int) -> None:
    content = np.random.default_rng(count).bytes(count)
    assert crc32c(content) == crc32c(memoryview(content)) == bit_by_bit(content)


def test_every_flipped_bit_is_seen() -> None:
    content = bytearray(200)
    whole = masked(bytes(content))
    for place in range(0, 1600, 37):
        content[place // 8] ^= 1 << place % 8
        assert masked(bytes(content)) != whole
        content[place // 8] ^= 1 << place % 8
