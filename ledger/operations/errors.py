"""Errors of the operator's commands.

GridpactError
├── BackupError           exit code 7
│   ├── BackupDamaged     cut off, changed, or no backup at all
│   ├── BackupRuns        another one writes the same file
│   ├── BackupKeyWrong    sealed for other keys than the one that was given
│   └── RestoreRefused    the file is whole, and does not belong where it is to be restored
├── ExportRefused         there is nothing to export, or no proof of it (exit code 9)
├── NoUpstream            no replica behind a proxy can be reached
├── ClockBehind           this machine's clock is behind the log's newest block
├── ClockAhead            this machine's clock is ahead of most members': it proposes nothing
├── BlockAhead            another member's clock took the log's time so far ahead that nobody cosigns
├── SigningStopped        signatures are held back: the largest signed tree cannot be noted
└── CertificateEnded      a certificate that this process shows or trusts is not valid now
"""

from __future__ import annotations

from runtime.errors import GridpactError


class BackupError(GridpactError):
    """Base: nothing was written, or what was written is taken back."""

    exit_code = 7


class BackupDamaged(BackupError):
    """The bytes are not those that were written; the message says where reading stopped."""


class BackupRuns(BackupError):
    """Nothing was touched: the file belongs to the backup that is on its way."""


class BackupKeyWrong(BackupError):
    """The file is sealed, and the key that was given (or none) opens it not."""


class RestoreRefused(BackupError):
    """Restoring never replaces anything and never mixes two ledgers."""


class ExportRefused(GridpactError):
    """What was asked for is not on the ledger, or cannot be proved to others."""

    exit_code = 9


class NoUpstream(GridpactError):
    """Every replica behind the proxy is away."""


class ClockBehind(GridpactError):
    """Until it has caught up, this member signs nothing."""


class SigningStopped(GridpactError):
    """Blocks are executed as always; nothing becomes final by this member."""


class ClockAhead(GridpactError):
    """The member follows and cosigns; others propose."""


class BlockAhead(GridpactError):
    """Nothing becomes final until the clocks of the members have caught up with the block."""


class CertificateEnded(GridpactError):
    """It has ended, or has not begun: connections that need it fail."""
