"""The short ways of the codec agree with the long one: same bytes, same values, same refusals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.core import codec
from contracts.core.codec import INTEGER_MAX, decode, digest, encode
from contracts.core.commands import Transfer
from contracts.core.errors import CodecError
from contracts.core.records import written
from contracts.demand_response.contract import ContractRecord, Level, Status
from contracts.measurements import Measurement
from contracts.tokens import Account, TransferRecord
from tests.contracts.world import home_terms

INTEGERS = st.sampled_from(
    (0, 1, -1, 2**31, INTEGER_MAX, INTEGER_MAX + 1, -INTEGER_MAX - 1, 2**63, -(2**63), 2**64, 10**300)
)
TEXTS = (
    st.text(max_size=6)
    | st.sampled_from(
        (
            "plain",
            'a "quoted" word',
            "back\\slash",
            "\\\\n",
            "line\n",
            "\x7f",
            "\u00e9",
            "e\u0301",
            "\U0001f600",
            "\ud800",
        )
    )
    | st.integers(0, 10**20).map(str)
)
ODD = (
    INTEGERS
    | TEXTS
    | st.sampled_from((None, True, 1.5, Status.ACTIVE, "active", (1, 2), [1, 2], (1, True), ("1",), b"x"))
)


def long_way(record: msgspec.Struct) -> tuple[bytes, Any] | None:
    """What `codec` says of a record looked at value by value; None: refused."""
    try:
        plain = msgspec.to_builtins(record)
        data = encode(plain)
        return data, msgspec.json.decode(data, type=type(record))
    except (CodecError, msgspec.ValidationError, TypeError, UnicodeError):
        return None


def short_way(record: msgspec.Struct, before: msgspec.Struct | None = None) -> tuple[bytes, Any] | None:
    try:
        return written(record, before)
    except (CodecError, msgspec.ValidationError):
        return None


def a_contract() -> ContractRecord:
    terms = home_terms()
    return ContractRecord(
        contract_id="s2", level=Level.SC2, parent="s1", payer="vn", payee="d0", terms=terms,
        terms_digest=digest(terms), status=Status.PROPOSED,
    )  # fmt: skip


@given(st.dictionaries(st.sampled_from(ContractRecord.__struct_fields__), ODD, max_size=3))
def test_a_contract_that_changed_is_written_as_if_it_were_new(changes: dict[str, Any]) -> None:
    before = msgspec.json.decode(encode(a_contract()), type=ContractRecord)
    record = msgspec.structs.replace(before, **changes)
    assert short_way(record, before) == long_way(record)


@given(st.tuples(*[ODD] * 4))
def test_records_of_numbers_are_written_as_any_other(values: tuple[Any, ...]) -> None:
    account = Account(**dict(zip(Account.__struct_fields__, values, strict=True)))
    measurement = Measurement(interval_s=values[0], energy_wh=values[1])
    for record in (account, measurement):
        assert short_way(record) == long_way(record)


@given(TEXTS, TEXTS, INTEGERS)
def test_a_struct_has_the_bytes_of_its_plain_value_or_none(debit: str, credit: str, amount: int) -> None:
    record = TransferRecord(debit=debit, credit=credit, amount_minor=amount, posted_minor=0, state="posted")  # type: ignore[arg-type]
    try:
        expected = encode(msgspec.to_builtins(record))
    except CodecError:
        with pytest.raises(CodecError):
            encode(record)
    else:
        assert encode(record) == expected


@given(TEXTS, INTEGERS)
def test_bytes_are_read_strictly_whatever_way_they_are_checked(text: str, amount: int) -> None:
    data = b'{"amount_minor":%d,"reference":%s,"to":"a"}' % (
        amount,
        msgspec.json.encode(text.encode("utf-8", "replace").decode()),
    )
    plain: Any
    try:
        plain = decode(data, dict[str, Any])
    except CodecError:
        plain = None
    try:
        command = decode(data, Transfer)
    except CodecError:
        assert plain is None or not 0 <= amount <= 10**15
    else:
        assert plain == msgspec.to_builtins(command)


class _Open(msgspec.Struct):
    """A type that does not say what its values are."""

    anything: Any


def test_a_type_that_allows_more_than_canonical_values_is_looked_at_value_by_value() -> None:
    assert not codec.is_closed(_Open)
    for value in (1.5, {"A": 1}, {1: 2}, "\n", float("nan")):
        with pytest.raises(CodecError):
            encode(_Open(value))
