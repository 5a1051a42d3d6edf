"""The figures as a table, beside the limits of the same run and what others publish."""

from __future__ import annotations

import sys
from typing import Any, Final

FABRIC_TX_PER_S: Final = 3_500
"""Hyperledger Fabric (Androulaki et al., EuroSys 2018), on servers with 32 virtual cores each, simple transfers."""


def say(text: str) -> None:
    """Progress, for who waits."""
    sys.stderr.write(f"  {text}\n")


def show(found: dict[str, Any]) -> None:
    """Prints everything."""
    limit = found["limits"]
    _lines("On all replicas", [
        ("applied, closed loop", found["applied_tx_per_s"], "tx/s"),
        ("applied, steady", found["steady_tx_per_s"], "tx/s, the highest tried with p99 below 250 ms"),
        ("p50, p99 at that rate", f"{found['p50_ms']:g}, {found['p99_ms']:g}", "ms"),
        (f"applied of {found['offered_tx_per_s']:g} offered", found["applied_of_offered_tx_per_s"], "tx/s"),
        ("p50, p99 of these", f"{found['offered_p50_ms']:g}, {found['offered_p99_ms']:g}", "ms"),
        ("measurement values", found["values_per_s"], "a second at the steady rate"),
        ("catch-up of a late replica", found["catch_up_tx_per_s"], "tx/s"),
        ("with two of three", found["two_of_three_tx_per_s"], "tx/s"),
        ("etcd leader killed", found["leader_kill_gap_ms"], "ms between acknowledgements"),
        ("proposer killed", found["proposer_kill_gap_ms"], "ms between acknowledgements"),
        ("acknowledged, held against all tables", found["acknowledged"], f"transactions, {found['lost']} lost"),
        ("idle", found["idle_cpu_percent"], "% of a core, our processes"),
    ])  # fmt: skip
    _lines("Limits of this run", [
        ("bare PostgreSQL commits", limit["postgres_commits_per_s"], "a second"),
        ("Ed25519 verifications", limit["verifies_per_s"], "a second of a core"),
        ("etcd puts of 64 kB", found["etcd_puts_64k_per_s"], "a second"),
        ("Hyperledger Fabric, published", FABRIC_TX_PER_S, "tx/s on servers"),
        ("CPU dearer than on a quiet machine", limit["disturbed_by"], "times"),
    ])  # fmt: skip
    _lines("A payment's proof", [
        (f"{row['entries']:,} entries", row["proof_bytes"], f"bytes, {row['verify_ms']} ms") for row in found["proofs"]
    ])  # fmt: skip
    _loads([*found["loads"], *found["growth"]])
    for row in found["loads"]:
        _stages(row)


def _lines(title: str, rows: list[tuple[str, Any, str]]) -> None:
    sys.stdout.write(f"\n{title}\n")
    for name, value, unit in rows:
        shown = value if isinstance(value, str) else f"{value:g}" if value < 10 else f"{value:,.0f}"
        sys.stdout.write(f"  {name:<36}{shown:>14} {unit}\n")


def _loads(rows: list[dict[str, Any]]) -> None:
    names = list(rows[0]["cpu_us_per_tx"])
    sys.stdout.write(f"\n{'CPU us per transaction':<34}{'tx/s':>8}{'tx/block':>9}")
    sys.stdout.write("".join(f"{name:>10}" for name in [*names, "all"]) + "\n")
    for row in rows:
        name = row["load"]
        if "accounts" in row:
            name = f"{row['members']} members, {row['accounts']:,} accounts"
            if row["entries"]:
                name = f"1 member, log of {row['entries']:,}"
        spent = row["cpu_us_per_tx"]
        shown = [*(spent[each] for each in names), sum(spent.values())]
        sys.stdout.write(f"  {name:<32}{row['tx_per_s']:>8,.0f}{row['transactions'] / max(1, row['blocks']):>9.0f}")
        sys.stdout.write("".join(f"{each:>10,.0f}" for each in shown) + "\n")
        if set(row["codes"]) - {"ok"}:
            sys.stdout.write(f"    {row['codes']}\n")


def _stages(row: dict[str, Any]) -> None:
    members = row["stages_us_per_tx"]
    stages = list(next(iter(members.values())))
    sys.stdout.write(f"\n{'replica by stage, ' + row['load']:<34}" + "".join(f"{each:>12}" for each in stages) + "\n")
    for member, spent in sorted(members.items()):
        sys.stdout.write(f"  {member:<32}" + "".join(f"{spent[each]:>12,.0f}" for each in stages) + "\n")
