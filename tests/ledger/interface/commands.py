"""`dr-ledger` by subprocess, and the files its users have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from contracts.core.parties import Role
from ledger.client import party_id
from runtime.keys import PrivateKey

CLEAN = {
    name: value for name, value in os.environ.items() if not name.startswith(("DR_LEDGER_", "GRIDPACT_", "DATABASE_"))
}


def dr_ledger(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from ledger.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**CLEAN, **environment},
        timeout=60,
        check=False,
    )


def output(*arguments: object, **environment: str) -> Any:
    done = dr_ledger(*arguments, "--json", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(code: int, *arguments: object, **environment: str) -> str:
    done = dr_ledger(*arguments, **environment)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def founders(folder: Path) -> dict[str, str]:
    """Key files of the founding parties; their party ids by role."""
    parties = {}
    for role in (Role.UTILITY, Role.AGGREGATOR, Role.AUDITOR):
        key = PrivateKey.create(folder / f"{role}.key")
        (folder / f"{role}.pub").write_text(key.public + "\n")
        parties[role.value] = party_id(role, key.public)
    return parties


def init(folder: Path, *more: object) -> list[object]:
    return [
        "init",
        *("--utility", folder / "utility.pub", "--aggregator", folder / "aggregator.pub"),
        *("--data-dir", folder / "ledger", *more),
    ]
