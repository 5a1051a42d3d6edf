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
from ledger.log import entry, merkle, proof
from ledger.log.policy import write_policy
from ledger.log.statetree import StateTree, buckets_from_records, touched_buckets
from ledger.verify import parse_policy, verify_checkpoint, verify_inclusion, verify_proof, verify_record
from ledger.verify.merkle import leaf_hash
from tests.ledger.log.sample import BODY, FACTS, ORIGIN, SALT, Member, sample_log

LEAVES = 1_000_000
RECORDS = 200_000


def main() -> None:
    tiles = log_times()
    state_times()
    client_times(tiles)


def log_times() -> merkle.Appended:
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
    return appended


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


def client_times(big: merkle.Appended) -> None:
    """A payment in a log of 1 M leaves, attested by seven members; the proof is the size a device really gets."""
    sample = sample_log()
    leaf = leaf_hash(sample.entries[1])
    appended = merkle.append(big.size, [leaf], big.edge)
    tiles = big.tiles | appended.tiles
    members = [Member(number) for number in range(1, 8)]
    text = notes.checkpoint_text(ORIGIN, appended.size, appended.root)
    note = notes.render_note(text, [members[0].sign(text), *(member.cosign(text) for member in members)])
    policy = write_policy([m.log_key for m in members], [m.cosigner_key for m in members])
    file = proof.write_proof(big.size, merkle.inclusion_proof(big.size, appended.size, tiles), note)
    parts = {"receipt": sample.receipt, "fact": entry.fact_part(FACTS, SALT, 1)}
    opening = proof.write_opening(sample.entries[1], transaction=proof.transaction_part(SALT, BODY), **parts)
    sys.stdout.write(f"files: proof {len(file)}, policy {len(policy)}, opening {len(opening)} bytes\n")
    measure("verify_proof, 7 cosignatures, strict", lambda: verify_proof(file, policy, opening, strict=True))
    parsed = parse_policy(policy)
    measure("of that: the checkpoint (8 signatures)", lambda: verify_checkpoint(note, parsed, strict=True))
    measure("of that: the policy file", lambda: parse_policy(policy, strict=True))


def measure(what: str, run: Callable[[], object], times: int = 400) -> None:
    took = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        took.append(time.perf_counter() - started)
    show(what, statistics.median(took))


def show(what: str, seconds: float) -> None:
    sys.stdout.write(f"{what:<50} {seconds * 1000:10.3f} ms\n")


if __name__ == "__main__":
    main()
