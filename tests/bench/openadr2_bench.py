"""Polls a second of this VTN and of stock openleadr 0.5.36, in one run on one machine, each server pinned to a core.

    python -m tests.bench.openadr2_bench [--seconds 10] [--vens 100]

Cases: plain HTTP unsigned; mutual TLS with every message signed and every answer signed (P-256, and RSA-2048). The VENs
poll on kept connections from another core; to us messages are signed before the clock starts. Writes
`var/bench/openadr2.json`, keeping what other measurements wrote there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.openadr2.load import Load, measured
from tests.bench.openadr2.servers import Fleet, ours, stock
from vtn.auth.pki import Pki

REPORT = Path("var/bench/openadr2.json")
STOCK_SIGNED_SHARE = 20
"""Stock is so much slower with signatures that it gets this part of the messages."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long each case takes")
    parser.add_argument("--vens", type=int, default=100, help="VENs that poll, on as many connections")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="openadr2-") as name:
        folder = Path(name)
        pki = Pki.create(folder / "pki", ["127.0.0.1", "localhost"], "Bench")
        report = _cases(folder, pki, options.vens, options.seconds)
    earlier = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(earlier | report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def _cases(folder: Path, pki: Pki, vens: int, seconds: float) -> dict[str, Any]:
    cases: dict[str, dict[str, Any]] = {}
    for kind, expected in (("unsigned", 2500), ("p256", 600), ("rsa", 600)):
        fleet = Fleet.create(folder / kind, pki, vens, kind)
        for server, serve in (("stock", stock), ("ours", ours)):
            load = Load(int(expected * seconds), vens, signed=kind != "unsigned")
            if server == "stock" and load.signed:
                # few connections: it takes no message that waited for five seconds
                load = Load(load.polls // STOCK_SIGNED_SHARE, 2, signed=True, fresh=True)
            cases[f"{server}_{kind}"] = _case(serve, fleet, load)
            print(f"{server} {kind}: {cases[f'{server}_{kind}']}", flush=True)
    unsigned, stock_unsigned = cases["ours_unsigned"], cases["stock_unsigned"]
    signed = {kind: cases[f"ours_{kind}"]["polls_per_s"] for kind in ("p256", "rsa")}
    return {
        "unsigned_polls_per_s": unsigned["polls_per_s"],
        "unsigned_ratio_to_openleadr": round(unsigned["polls_per_s"] / stock_unsigned["polls_per_s"], 2),
        "unsigned_cpu_ratio": round(stock_unsigned["cpu_ms_per_poll"] / unsigned["cpu_ms_per_poll"], 2),
        "signed_polls_per_s": signed["rsa"],
        "signed_polls_per_s_p256": signed["p256"],
        "signed_ratio_to_openleadr": round(signed["rsa"] / cases["stock_rsa"]["polls_per_s"], 1),
        "signed_ratio_to_openleadr_p256": round(signed["p256"] / cases["stock_p256"]["polls_per_s"], 1),
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "cases": cases,
    }


def _case(serve: Any, fleet: Fleet, load: Load) -> dict[str, Any]:
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve, args=(fleet, there), daemon=True)
    server.start()
    there.close()
    try:
        if not here.poll(120):
            raise RuntimeError("the server did not start")
        address = here.recv()
        result = measured(address, server.pid or 0, fleet, load)
        here.send("end")
        server.join(30)
    finally:
        if server.is_alive():
            server.kill()
            server.join()
    return result


if __name__ == "__main__":
    main()
