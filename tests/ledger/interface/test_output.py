"""What the command line prints for people holds no notation of a programming language."""

import json

import pytest

from ledger.cli.output import show, show_columns, show_rows

FACT = {"kind": "posted", "amounts": {"debit": 3, "credit": None}, "legs": [{"to": "a", "wh": 2}]}


@pytest.mark.parametrize(
    "printed",
    [
        lambda: show({"facts": [FACT]}, as_json=False),
        lambda: show_rows([FACT], as_json=False),
        lambda: show_columns([FACT]),
    ],
)
def test_nested_records_are_told_as_names_and_values(printed, capsys):
    printed()
    told = capsys.readouterr().out
    assert "debit" in told
    assert not set("{}'\"") & set(told)


def test_programs_get_all_of_it_as_json(capsys):
    show({"facts": [FACT]}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"facts": [FACT]}
