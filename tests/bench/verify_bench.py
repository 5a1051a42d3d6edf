"""Times of the transparency log and the light client: `python tests/bench/verify_bench.py`. Prints, asserts nothing."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ledger.log import checkpoint as notes
from ledger.log import merkle, proof
from ledger.log.policy import write_policy
from ledger.log.statetree import StateTree, buckets_from_records, touched_buckets
from ledger.verify import (
    parse_policy,
    verify_balance,
    verify_checkpoint,
    verify_equivocation,
    verify_extension,
    verify_inclusion,
    verify_payment,
    verify_proof,
    verify_record,
)
from ledger.verify.merkle import leaf_hash
from tests.ledger.log.lived import lived
from tests.ledger.log.sample import ORIGIN, Member

LEAVES = 1_000_000
RECORDS = 200_000


def main() -> None:
    log_times()
    state_times()
    client_times()


def log_times() -> None:
    hashes = [os.urandom(32) for _ in range(LEAVES)]
    started = time.perf_counter()
    appended = merkle.append(0, hashes, {})
    show("append 1 M leaf hashes in one piece", time.perf_counter() - started)
    edge = {"size": appended.size, "edge": appended.edge}

    def block() -> None:
        result = merkle.append(edge["size"], hashes[:256], edge["edge"])
        edge.update(size=result.size, edge=result.edge)

    measure("append a block of 256 to 1 M leaves", block)
    indexes = iter(range(0, LEAVES, 7))
    measure("inclusion proof in 1 M leaves", lambda: merkle.inclusion_proof(next(indexes), LEAVES, appended.tiles))
    measure("consistency proof in 1 M leaves", lambda: merkle.consistency_proof(654_321, LEAVES, appended.tiles))
    path = merkle.inclusion_proof(777_777, LEAVES, appended.tiles)
    measure(
        "verify an inclusion proof in 1 M leaves",
        lambda: verify_inclusion(hashes[777_777], 777_777, LEAVES, path, appended.root),
    )


def state_times() -> None:
    body = b'{"credits_posted":700,"debits_posted":0}'
    started = time.perf_counter()
    rows = buckets_from_records(("account", f"party/{n}", body) for n in range(RECORDS))
    tree = StateTree(rows.items())
    show(f"recompute the state of {RECORDS:,} records", time.perf_counter() - started)
    changes = {("account", f"party/{n}"): b"x" for n in range(0, RECORDS, RECORDS // 256)}
    reader = {bucket: rows[bucket] for bucket in touched_buckets(changes)}
    measure(f"plan a block that changes {len(changes)} records", lambda: tree.plan(changes, reader))
    shown = tree.prove("account", "party/1", rows)
    measure("verify a record", lambda: verify_record(tree.root, "account", "party/1", body, shown))


def client_times() -> dict[str, dict[str, float]]:
    """A payment, a balance and more, attested by three and by seven members, in logs of three sizes. By size of the
    log: bytes of the proof with three cosignatures, and milliseconds of the whole check."""
    figures = {}
    for leaves in (10_000, 100_000, LEAVES):
        hashes = [os.urandom(32) for _ in range(leaves)]
        hashes[leaves // 3] = leaf_hash(lived().entries[0])
        big = merkle.append(0, hashes, {})
        for count in (3, 7):
            proof_bytes, verify_ms = payment_times(big, count)
            if count == 3:
                figures[str(leaves)] = {"proof_bytes": proof_bytes, "verify_ms": round(verify_ms, 3)}
    checks: dict[str, Callable[[], object]] = {
        "verify_payment": lambda: verify_payment(f["proof.0"], f["policy"], f["opening.payment"]),
        "verify_balance": lambda: verify_balance(f["proof.20"], f["policy"], f["opening.balance"]),
        "absence of an account": lambda: verify_balance(f["proof.20"], f["policy"], f["opening.absence"]),
        "fact of a deadline": lambda: verify_proof(f["proof.3"], f["policy"], f["opening.tick"], strict=True),
        "verify_extension (8 signatures)": lambda: verify_extension(f["note.small"], f["extension"], f["policy"]),
        "verify_equivocation, other sizes": lambda: verify_equivocation(f["evidence.prefix"], f["policy"]),
    }
    f = lived().files
    for what, run in checks.items():
        measure(f"{what}, 3 members", run)
    return figures


def payment_times(big: merkle.Appended, count: int) -> tuple[int, float]:
    """Bytes of the proof file and milliseconds of verify_payment for the leaf at a third of a log."""
    made, members, index = lived(), [Member(number) for number in range(1, count + 1)], big.size // 3
    text = notes.checkpoint_text(ORIGIN, big.size, big.root)
    note = notes.render_note(text, [members[0].sign(text), *(member.cosign(text) for member in members)])
    policy = write_policy([m.log_key for m in members], [m.cosigner_key for m in members])
    file = proof.write_proof(index, merkle.inclusion_proof(index, big.size, big.tiles), note)
    opening = made.files["opening.payment"]
    sys.stdout.write(f"files: proof {len(file)}, policy {len(policy)}, opening {len(opening)} bytes\n")
    what = f"verify_payment, {count} cosignatures, {big.size:,} leaves"
    took = measure(what, lambda: verify_payment(file, policy, opening))
    parsed = parse_policy(policy)
    measure(f"of that: the checkpoint ({count + 1} signatures)", lambda: verify_checkpoint(note, parsed, strict=True))
    measure("of that: the policy file", lambda: parse_policy(policy, strict=True))
    return len(file), took


def measure(what: str, run: Callable[[], object], times: int = 400) -> float:
    """Prints and returns the median milliseconds."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        took.append(time.perf_counter() - started)
    show(what, statistics.median(took))
    return statistics.median(took) * 1000


def show(what: str, seconds: float) -> None:
    sys.stdout.write(f"{what:<50} {seconds * 1000:10.3f} ms\n")


if __name__ == "__main__":
    main()
