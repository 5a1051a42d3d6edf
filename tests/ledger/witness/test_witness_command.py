"""`dr-ledger witness` as a process, and founding a ledger whose policy names witnesses."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from ledger.log.checkpoint import log_key
from ledger.log.policy import parties_of
from ledger.verify import parse_policy
from ledger.verify.note import VerifierKey
from tests.ledger.interface.commands import CLEAN, founders, init, output, refusal
from tests.ledger.witness.growing import ORIGIN, GrowingLog, raw

NAME = "witness.example/w1"


@pytest.mark.slow
def test_a_witness_is_made_serves_is_killed_and_goes_on_from_where_it_was(tmp_path: Path):
    log, folder, logs = GrowingLog(), tmp_path / "w", tmp_path / "logs"
    made = output("witness", "create", "--name", NAME, "--data-dir", folder)
    assert made["policy_line"] == f"witness {NAME} {made['vkey']}"
    logs.write_text(f"log {log_key(ORIGIN, raw(log.keys[0])).encode()}\n")
    for old, new, number in ((0, 9, signal.SIGKILL), (9, 20, signal.SIGTERM)):
        command = ["witness", "serve", "--data-dir", str(folder), "--logs", str(logs), "--listen", "127.0.0.1:0"]
        with subprocess.Popen(
            [sys.executable, "-c", "from ledger.cli import main; main()", *command],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=CLEAN, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with urllib.request.urlopen(f"{url}/add-checkpoint", log.request(old, new), timeout=30) as answer:
                assert answer.status == 200
            process.send_signal(number)
            assert process.wait(30) == (-number if number == signal.SIGKILL else 0)
    [row] = output("witness", "status", "--data-dir", folder)["logs"]
    assert (row["origin"], row["size"], row["root"]) == (ORIGIN, 20, log.root(20).hex())
    assert "made once" in refusal(7, "witness", "create", "--name", NAME, "--data-dir", folder)
    assert "--listen" in refusal(2, "witness", "serve", "--data-dir", folder, "--logs", logs, "--listen", "nowhere")
    assert "plain HTTP" in refusal(2, "witness", "serve", "--data-dir", folder, "--logs", logs, "--listen", "0.0.0.0:0")


def test_a_ledger_is_founded_with_a_policy_that_names_its_witnesses(tmp_path: Path):
    founders(tmp_path)
    vkey = output("witness", "create", "--name", NAME, "--data-dir", tmp_path / "w")["vkey"]
    (tmp_path / "witnesses").write_text(f"witness w1 {vkey} https://witness.example/\n")
    options = ["--witness-file", tmp_path / "witnesses", "--witness-quorum"]
    assert "names 1 witnesses" in refusal(2, *init(tmp_path, *options, 2))
    own = ["--member", NAME, *options, 1]
    assert "make no policy" in refusal(7, *init(tmp_path, *own))
    assert not (tmp_path / "ledger").exists()
    founded = output(*init(tmp_path, *options, 1))
    found = parties_of(parse_policy(Path(founded["policy_file"]).read_bytes(), strict=True))
    assert (found.witnesses, found.required) == ((VerifierKey.parse(vkey),), 1)
    assert [key.name for key in found.members] == founded["members"]
