"""What a ledger answers, as typed values; whatever does not fit raises AnswerInvalid."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from contracts.core.facts import AnyFact
from contracts.core.units import Hash, Id, TimeMs
from ledger.client.errors import AnswerInvalid, Refused

COMMITTED: Final = "committed"
REFUSED: Final = "refused"
UNKNOWN: Final = "unknown"
START: Final = "0.0.0"
"""The cursor before every fact."""

INDEX_MAX: Final = 2**53 - 1
ORDINAL_MAX: Final = 2**31 - 1

T = TypeVar("T")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a transaction.

    status: "committed" (executed), "refused" (by a rule: with height and index; or before it was ordered: without) or
    "unknown" (perhaps still to come: send the same transaction again). code: "ok", or why it was refused. height: its
    block; index: its leaf in the log. facts: what it recorded. attested: how many members cosigned a checkpoint that
    covers it; final: they are the quorum of the policy, so that it can be proved and counts. detail: why it is
    unknown."""

    id: str
    status: str
    code: str = ""
    height: int | None = None
    index: int | None = None
    facts: tuple[AnyFact, ...] = ()
    attested: int = 0
    final: bool = False
    detail: str = ""

    @property
    def known(self) -> bool:
        """Is the outcome known?"""
        return self.status != UNKNOWN

    @property
    def cursor(self) -> str:
        """A cursor for `follow` that stands behind this transaction's facts (START where it has no place)."""
        return START if self.height is None or self.index is None else f"{self.height}.{self.index}.{ORDINAL_MAX}"

    def check(self) -> Result:
        """Itself; raises Refused for a refused transaction."""
        if self.status == REFUSED:
            raise Refused(self.code)
        return self


class FactRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A fact with its place: `cursor` ("height.index.ordinal") continues behind it; time_ms is the block's domain time;
    contract: the contract or need it is about; parties: whom it concerns; transaction_id is None for a deadline."""

    cursor: str
    height: int
    index: int
    ordinal: int
    time_ms: TimeMs
    transaction_id: Hash | None
    contract: Id | None
    parties: tuple[str, ...]
    fact: AnyFact


class ProofBundle(msgspec.Struct, frozen=True, kw_only=True):
    """Two of the three files that `ledger.verify.verify_proof` takes (the third is the policy): the `.tlog-proof` and
    the opening, as bytes to be written as they are."""

    proof: bytes
    opening: bytes


class RecordAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One record at a height; `value` is its content."""

    kind: str
    key: str
    value: dict[str, Any]


class RecordsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of records; `next_after` None on the last one."""

    records: tuple[RecordAnswer, ...]
    next_after: str | None = None


class FactsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of facts."""

    facts: tuple[FactRecord, ...]


class ResultsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One result a transaction, in the order of the request."""

    results: tuple[dict[str, Any], ...]


class ProofAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Both files are text."""

    proof: str
    opening: str


def read_answer(data: bytes, kind: type[T]) -> T:
    """Decodes JSON as `kind`. Raises AnswerInvalid."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise AnswerInvalid(f"the ledger's answer is not a {kind.__name__}: {error}") from None


def read_result(value: dict[str, Any], expected_id: str) -> Result:
    """The result of the transaction `expected_id`. Raises AnswerInvalid for any other."""
    if value.get("id", "") is None and value.get("status") == REFUSED:  # its form was refused: no id could be derived
        value = {**value, "id": expected_id}
    try:
        result = msgspec.convert(value, Result)
    except msgspec.ValidationError as error:
        raise AnswerInvalid(f"the ledger's answer is not a result: {error}") from None
    if result.id != expected_id:
        raise AnswerInvalid(f"the ledger answered for transaction {result.id}, asked was {expected_id}")
    if result.status not in (COMMITTED, REFUSED, UNKNOWN):
        raise AnswerInvalid(f"the ledger answered the status {result.status!r}")
    return result


def read_record(answer: RecordAnswer, kind: type[T]) -> T:
    """The record as its Struct. Raises AnswerInvalid."""
    try:
        return msgspec.convert(answer.value, kind)
    except msgspec.ValidationError as error:
        raise AnswerInvalid(f"record {answer.kind}/{answer.key} is not a {kind.__name__}: {error}") from None


def place(cursor: str) -> tuple[int, int, int]:
    """A cursor as numbers, for comparison. Raises AnswerInvalid."""
    parts = cursor.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() and len(part) <= 16 for part in parts):
        raise AnswerInvalid(f"{cursor!r} is not a cursor (height.index.ordinal)")
    height, index, ordinal = map(int, parts)
    return height, index, ordinal
