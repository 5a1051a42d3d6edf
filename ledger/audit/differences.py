"""What an audit says when something does not fit, and how rows are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger.errors import Diverged
from ledger.store.history import Row


class LedgerDiffers(Diverged):
    """The first difference: `height` of the block (0: the genesis), `transaction_id` where it is of one, `what`."""

    def __init__(self, height: int, what: str, transaction_id: str | None = None) -> None:
        self.height = height
        self.what = what
        self.transaction_id = transaction_id
        where = f"block {height}" if transaction_id is None else f"block {height}, transaction {transaction_id}"
        super().__init__(f"{where} does not fit: {what}")


def same(height: int, name: str, stored: Sequence[Row], expected: Sequence[Row], ids: Mapping[int, str]) -> None:
    """Rows of one table against those it must have, in order. `ids`: transactions by leaf. Raises LedgerDiffers."""
    for found, wanted in zip(stored, expected, strict=False):
        for column, value in wanted.items():
            if found[column] != value:
                what = f"table {name}: {column} of leaf {wanted['log_index']} differs"
                raise LedgerDiffers(height, what, ids.get(wanted["log_index"]))
    if len(stored) != len(expected):
        raise LedgerDiffers(height, f"table {name}: {len(stored)} rows instead of {len(expected)}")


def same_columns(height: int, name: str, row: Row, expected: Row) -> None:
    """One row against the values it must have. Raises LedgerDiffers."""
    for column, value in expected.items():
        if row[column] != value:
            raise LedgerDiffers(height, f"table {name}: {column} differs")
