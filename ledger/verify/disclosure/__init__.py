"""A disclosure: parts of a restricted channel, shown to somebody outside it who trusts the main log alone.

    policy of main ─ cosigned checkpoint ─ entry ─ fact CheckpointAnchored {channel, size, root}
                                                                                      │
                             the channel's entries ─ inclusion proofs ────────────────┘
                             their openings: commands, facts, records in clear

The file is canonical JSON:

    {"format":"gridpact/disclosure/v1",
     "anchor":{"proof":base64 of a .tlog-proof,"opening":{..}},       on main: the checkpoint was anchored
     "origin":"<origin of the channel>",
     "items":[{"index":n,"path":[hex],"opening":{..}}]}              in the channel, in order of the index

The channel's own signatures are not in it: main's members took the checkpoint because a quorum of the channel's members
had cosigned it, and that is what their cosignatures of main vouch for. No byte of the file can change unnoticed.
"""

from .reading import Disclosed, verify_disclosure
from .writing import ANCHOR_FACT, FORMAT, write_disclosure

__all__ = ["ANCHOR_FACT", "FORMAT", "Disclosed", "verify_disclosure", "write_disclosure"]
