"""The hash chain over events: each event's hash covers its content and the hash before it.

An edit, a removal or a change of order anywhere then shows in every later hash, and one noted head (the last
hash, written down elsewhere) vouches for all that came before it.
"""

from __future__ import annotations

from hashlib import sha256

GENESIS = bytes(32)


def link(
    previous: bytes, sweep: str, source: str, source_seq: int, run: int | None, kind: str, time: str, body: str
) -> bytes:
    """The hash of an event, 32 bytes.

    NUL separates the parts: JSON text holds none, and neither do names that come from file names.
    """
    return sha256(previous + f"{sweep}\0{source}\0{source_seq}\0{run}\0{kind}\0{time}\0{body}".encode()).digest()
