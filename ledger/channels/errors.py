"""Errors of restricted channels.

ReplicaError
├── ChannelKeyMissing        this member has no key for a block of the channel
└── ChannelKeyInvalid        the file of channel keys is damaged, of another channel, or not what a member may change
Diverged
└── OrderTampered
    └── SealBroken           a block in the order was not sealed by a holder of the channel's key
"""

from __future__ import annotations

from ledger.errors import OrderTampered, ReplicaError


class ChannelKeyMissing(ReplicaError):
    """The message names the channel and the key, and says how to get it."""


class ChannelKeyInvalid(ReplicaError):
    """The file cannot be used; the message says why."""


class SealBroken(OrderTampered):
    """The bytes at this height were not sealed for this channel and height by any key this member holds."""
