"""Each import rule is broken once, in a small copy of the tree, to see that it is caught."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    "runtime/clock",
    "contracts/rules",
    "openadr/model",
    "openadr/v2/messages",
    "openadr/client/link",
    "forecasting/naive",
    "scheduling/home",
    "ledger/client",
    "ledger/replica",
    "ledger/verify",
    "vtn/app",
    "vtn/aggregator/cycle",
    "vtn/dashboard/routes",
    "vtn/faces/openadr2/events",
    "ven/app",
    "demo/story",
]
LAYERS = "Imports point one way, and vtn and ven never import each other"
LEDGER = "Of the ledger, others reach its client and its verifier alone"
LIGHT = "A client of a service, and the ledger's verifier, run without a database"
ALONE = "The verifier depends on nothing of ours"
CONTRACTS = "Contracts import this list and nothing else"
OPENLEADR = "openadr.v2 alone imports openleadr"
DATA = "The protocols are data: no sockets, no database, no event loop"
CLIENT = "Nothing of the protocols needs their client"
FACES = "A protocol face and the aggregator know nothing of each other"


@pytest.fixture
def tree(tmp_path):
    """The packages with one module each, and the project's own rules."""
    for module in MODULES:
        path = tmp_path / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        for folder in path.relative_to(tmp_path).parents:
            if folder != Path():
                (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    return tmp_path


def broken_rules(tree: Path) -> list[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200", "NO_COLOR": "1"}
    result = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    broken = [line.split(" BROKEN")[0] for line in result.stdout.splitlines() if " BROKEN" in line]
    assert (result.returncode == 0) == (not broken), result.stdout + result.stderr
    return broken


def test_the_small_tree_breaks_no_rule(tree):
    assert broken_rules(tree) == []


@pytest.mark.parametrize(
    ("importer", "statement", "rules"),
    [
        ("vtn/app", "import ven.app", [LAYERS]),
        ("ven/app", "from vtn import app", [LAYERS]),
        ("ledger/replica", "import openadr.model", [LAYERS]),
        ("openadr/model", "import ledger.client", [LAYERS, LEDGER]),
        ("runtime/clock", "import contracts.rules", [LAYERS]),
        ("ven/app", "import demo.story", [LAYERS]),
        ("vtn/app", "import ledger.replica", [LEDGER]),
        ("ven/app", "def late():\n    from ledger import replica", [LEDGER]),
        ("demo/story", "import ledger.replica", [LEDGER]),
        ("ledger/client", "import sqlalchemy.orm", [LIGHT]),
        ("ledger/client", "import ledger.replica\n", []),
        ("ledger/verify", "import psycopg", [LIGHT]),
        ("ledger/verify", "import runtime.clock", [ALONE]),
        ("ledger/verify", "import msgspec", [ALONE]),
        ("contracts/rules", "import random", [CONTRACTS]),
        ("contracts/rules", "import time", [CONTRACTS]),
        ("contracts/rules", "import asyncio", [CONTRACTS]),
        ("contracts/rules", "import runtime.clock", [LAYERS, CONTRACTS]),
        ("contracts/rules", "import hashlib, msgspec", []),
        ("vtn/app", "import openleadr", [OPENLEADR]),
        ("openadr/model", "import openleadr", [OPENLEADR]),
        ("openadr/v2/messages", "import openleadr", []),
        ("openadr/model", "import socket", [DATA]),
        ("forecasting/naive", "import sqlite3", [DATA]),
        ("scheduling/home", "import socket", [DATA]),
        ("scheduling/home", "import forecasting.naive", [LAYERS]),
        ("scheduling/home", "import vtn.app", [LAYERS]),
        ("openadr/client/link", "import aiohttp, asyncio", []),
        ("openadr/client/link", "import sqlalchemy", [LIGHT, DATA]),
        ("openadr/v2/messages", "import openadr.client.link", [CLIENT]),
        ("vtn/faces/openadr2/events", "import vtn.aggregator.cycle", [FACES]),
        ("vtn/faces/openadr2/events", "import vtn.dashboard.routes", [FACES]),
        ("vtn/aggregator/cycle", "import vtn.faces.openadr2.events", [FACES]),
        ("vtn/app", "import vtn.faces.openadr2.events, vtn.aggregator.cycle, ledger.client, ledger.verify", []),
        ("ven/app", "import ledger", []),
    ],
)
def test_an_import_breaks_exactly_its_rules(tree, importer, statement, rules):
    (tree / f"{importer}.py").write_text(statement)
    assert broken_rules(tree) == rules


def test_a_client_that_reaches_the_database_through_a_neighbour_is_caught(tree):
    (tree / "ledger" / "client.py").write_text("import ledger.replica")
    (tree / "ledger" / "replica.py").write_text("import psycopg")
    assert broken_rules(tree) == [LIGHT]
