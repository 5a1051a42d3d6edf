"""Errors of a replica. (A client has its own tree in ledger.client.errors, a verifier in ledger.verify.errors.)

ReplicaError                 (a GridpactError)
├── GenesisExists            there is a ledger already where one is to be founded
├── AlreadyRuns              another process of this machine signs as the same member
├── GenesisInvalid           no genesis, one that cannot be used, or not the one the database was made from
├── QueueFull                more waits to be ordered than the queue holds: HTTP 429, try again
├── OrderingUnavailable      nobody orders blocks at the moment: HTTP 503, reads go on
│   └── CatchingUp           this replica is behind the order: HTTP 503, for writes and for leader-checked reads
├── StoreUnavailable         PostgreSQL does not answer: HTTP 503
├── NotFinalYet              executed, but no quorum has cosigned it yet: HTTP 409, ask again
├── Erased                   executed, and its body was erased since: HTTP 410
├── PeerUnavailable          another member does not answer, or not sensibly
│   └── NotProposer          it does not order blocks; it may know who does
├── OrderTrimmed             the order keeps no block that old any more: blocks up to its first come from other members
└── Diverged                 the replica found that it does not agree with the log and stopped: HTTP 503
    └── OrderTampered        somebody overwrote or deleted a block in the order
"""

from __future__ import annotations

from runtime.errors import GridpactError


class ReplicaError(GridpactError):
    """Base of the errors of a replica."""

    exit_code = 7


class GenesisExists(ReplicaError):
    """Founding never replaces anything: neither genesis nor keys nor tables."""


class AlreadyRuns(ReplicaError):
    """A member's keys are used by one process at a time: two that go different ways would sign two logs."""


class GenesisInvalid(ReplicaError):
    """The genesis file is missing or damaged, or the database belongs to another genesis."""


class QueueFull(ReplicaError):
    """Nothing was taken: send the same transactions again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OrderingUnavailable(ReplicaError):
    """Writes are refused until the orderer works again; nothing acknowledged is lost."""

    def __init__(self, message: str, retry_after_s: int = 2) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Diverged(ReplicaError):
    """The message names the first block that does not fit; the replica repairs nothing by itself."""

    exit_code = 8


class CatchingUp(OrderingUnavailable):
    """The replica knows of blocks it has not executed: what it would answer were old news."""


class StoreUnavailable(ReplicaError):
    """The store cannot be reached: nothing is wrong with the data, and waiting helps."""


class NotFinalYet(ReplicaError):
    """The transaction is executed here; the quorum of the policy has not cosigned a checkpoint that covers it."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Erased(ReplicaError):
    """Salt, command and facts of the transaction were erased; that it was executed can still be proved."""


class PeerUnavailable(ReplicaError):
    """Another member cannot be reached or answers nothing that can be used."""


class NotProposer(PeerUnavailable):
    """`proposer`: who orders blocks, as far as the asked member knows."""

    def __init__(self, proposer: str | None) -> None:
        super().__init__(f"it does not order blocks at the moment ({proposer or 'nobody it knows'} does)")
        self.proposer = proposer


class OrderTrimmed(ReplicaError):
    """A watch asked for blocks the order no longer keeps; `first` is the lowest height it has (or will have next)."""

    def __init__(self, first: int) -> None:
        super().__init__(f"the order begins at block {first}: take the blocks before it from another member")
        self.first = first


class OrderTampered(Diverged):
    """A block in the order was overwritten, or deleted above the trim line: only somebody with write rights to the
    order can have done it. The message names the block."""
