"""The form of a disclosure, and writing one."""

from __future__ import annotations

from collections.abc import Sequence

from .. import canonical
from ..note import encode_base64

FORMAT = "gridpact/disclosure/v1"
ANCHOR_FACT = "CheckpointAnchored"


def write_disclosure(
    *, anchor_proof: bytes, anchor_opening: bytes, origin: str, items: Sequence[tuple[int, Sequence[bytes], bytes]]
) -> bytes:
    """The file. items: index, inclusion proof and opening of each entry shown, under the anchored checkpoint."""
    return canonical.encode(
        {
            "format": FORMAT,
            "anchor": {
                "proof": encode_base64(anchor_proof),
                "opening": canonical.decode(anchor_opening),
            },
            "origin": origin,
            "items": [
                {"index": index, "path": [item.hex() for item in path], "opening": canonical.decode(opening)}
                for index, path, opening in sorted(items, key=lambda item: item[0])
            ],
        }
    )
