"""`dr-ledger` in the test's own process: what it refuses needs no new interpreter."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any
from unittest.mock import patch

import pytest

from ledger.cli import main


def answered(*arguments: object, **environment: str) -> Any:
    """What a command that succeeds prints with --json."""
    printed = io.StringIO()
    with (
        patch.object(sys, "argv", ["dr-ledger", *map(str, arguments), "--json"]),
        patch.dict("os.environ", environment),
        patch("runtime.logs.configure"),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(io.StringIO()) as said,
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert not ended.value.code, said.getvalue()
    return json.loads(printed.getvalue())


def refused(code: int, *arguments: object, **environment: str) -> str:
    """What a command says on stderr before it ends with `code`."""
    said = io.StringIO()
    with (
        patch.object(sys, "argv", ["dr-ledger", *map(str, arguments)]),
        patch.dict("os.environ", environment),
        patch("runtime.logs.configure"),  # the test run keeps its own
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert ended.value.code == code, (ended.value.code, said.getvalue())
    return " ".join(said.getvalue().split())
