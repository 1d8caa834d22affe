# SPDX-License-Identifier: Apache-2.0
"""As much of DER as it takes to tell certificates apart."""

from __future__ import annotations


def split(data: bytes) -> list[bytes]:
    """The values that data is a row of."""
    values = []
    while len(data) >= 2:
        start, size = _extent(data)
        values.append(data[: start + size])
        data = data[start + size :]
    return values


def children(value: bytes) -> list[bytes]:
    """The values that one, a sequence or a set, holds."""
    start, size = _extent(value)
    return split(value[start : start + size])


def is_self_issued(certificate: bytes) -> bool:
    """Whether subject and issuer are the same name (RFC 5280, 4.1)."""
    fields = children(children(certificate)[0])
    if fields[0][:1] == b"\xa0":  # the version, which may be missing
        fields = fields[1:]
    _, _, issuer, _, subject = fields[:5]
    return issuer == subject


def _extent(data: bytes) -> tuple[int, int]:
    """Where the first value's content begins, and its size."""
    if data[1] < 0x80:
        return 2, data[1]
    count = data[1] & 0x7F
    return 2 + count, int.from_bytes(data[2 : 2 + count], "big")
