"""What a table of `dr-vtn` keeps when the terminal is narrow."""

from __future__ import annotations

import pytest

from vtn.cli.options import print_table

ID = "need-2026-11-22-5033c30e"


@pytest.mark.parametrize("width", [20, 80])
def test_an_id_is_whole_in_a_narrow_terminal(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    print_table("Needs", ("need", "why", "venID"), [(ID, "a sentence " * 20, "ven-f1e9d5c604ec0166")])
    text = capsys.readouterr().out
    assert ID in text
    assert "ven-f1e9d5c604ec0166" in text
    assert "…" not in text


def test_a_sentence_wraps_within_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    print_table("Needs", ("need", "why"), [(ID, "a sentence " * 20)])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_table_without_rows_has_its_columns(capsys):
    print_table("Needs", ("need", "why"), [])
    assert "need" in capsys.readouterr().out
