"""What a contract may know beside the state: where in the order it runs, the block's time, and which signatures hold.

`verify` is a pure function of its arguments, supplied by the replica (one pinned library per algorithm, verified in
batches ahead), so that contracts judge signatures without importing cryptography.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from contracts.core.errors import Refusal
from contracts.core.state import State

DEPTH_MAX: Final = 8

T = TypeVar("T")
Verify = Callable[[str, bytes, bytes], bool]


class Context(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """channel, height and block time of the execution; `transaction_id` is empty while deadlines are worked off."""

    channel: str
    height: int
    time_ms: int
    transaction_id: str
    verify: Verify
    depth: int = 0

    def valid(self, key: str, message: bytes, signature: bytes) -> bool:
        """Does `signature` by the public key `key` fit `message`?"""
        return self.verify(key, message, signature)

    def call(self, state: State, body: Callable[[State], T]) -> T:
        """Runs a contract called by another: its writes join the caller's, all or nothing. Raises Refusal."""
        if self.depth + 1 > DEPTH_MAX:
            raise Refusal("depth_exceeded")
        nested = State(state)
        result = body(nested)
        state.merge(nested)
        return result
