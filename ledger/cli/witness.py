"""`dr-ledger witness`: cosigns the checkpoints of other logs (c2sp.org/tlog-witness)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.options import Json
from ledger.cli.output import UsageError, show
from runtime import logs as logging
from runtime import service
from runtime.tls import Certificate, server_context

app = typer.Typer(no_args_is_help=True, help="A witness: cosigns the checkpoints of logs that only grow.")

Folder = Annotated[Path, typer.Option("--data-dir", help="Key of the witness, and what it has cosigned.")]
Name = Annotated[str, typer.Option("--name", help="Name under which it cosigns, such as witness.example/w1.")]
LogsFile = Annotated[
    Path, typer.Option("--logs", help="Which logs: a policy file with `log` lines, or a tlog-list (`logs/v0`).")
]


@app.command()
def create(name: Name, data_dir: Folder, json: Json = False) -> None:
    """Make the key and the empty record of a new witness; what it prints goes into policies and witness files."""
    from ledger.witness import folder

    key = folder.create(data_dir, name)
    shown = {"name": key.name, "vkey": key.encode(), "vkey_file": str(data_dir / folder.VKEY_FILE)}
    show(shown | {"policy_line": f"witness {key.name} {key.encode()}"}, as_json=json)


@app.command()
def serve(
    data_dir: Folder,
    logs: LogsFile,
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:8460",
    certificate: Annotated[Path | None, typer.Option("--certificate", help="PEM chain of the certificate.")] = None,
    certificate_key: Annotated[Path | None, typer.Option("--certificate-key", help="Its PEM private key.")] = None,
) -> None:
    """Answer `POST /add-checkpoint` until SIGTERM or Ctrl-C. Every answer is on disk before it leaves."""
    from ledger.witness.cosigner import Cosigner
    from ledger.witness.folder import open_witness
    from ledger.witness.service import build
    from ledger.witness.trust import read_logs

    host, port = _address(listen)
    if (certificate is None) != (certificate_key is None):
        raise UsageError("--certificate and --certificate-key belong together")
    tls = None
    if certificate is not None and certificate_key is not None:
        tls = server_context([Certificate(certificate, certificate_key)])
    service.refuse_plain_http(host, tls)
    logging.configure("dr-ledger witness")
    known = read_logs(logs)
    opened = open_witness(data_dir)
    try:
        cosigner = Cosigner(opened.key, opened.private.sign, known, opened.record, clock=lambda: int(time.time()))
        service.run(service.serve(build(cosigner), host, port, tls, name="dr-ledger witness"))
    finally:
        opened.record.close()


@app.command()
def status(data_dir: Folder, json: Json = False) -> None:
    """Show the public key, and for each log the checkpoint that was cosigned last; the witness may run beside."""
    from ledger.witness.folder import open_witness

    opened = open_witness(data_dir)
    try:
        rows = [
            {
                "origin": each.origin,
                "size": each.size,
                "root": each.root.hex(),
                "cosigned_at": datetime.fromtimestamp(each.time_s, UTC).isoformat(),
            }
            for each in opened.record.logs()
        ]
    finally:
        opened.record.close()
    show({"name": opened.key.name, "vkey": opened.key.encode(), "logs": rows}, as_json=json)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"--listen {listen}: write HOST:PORT, for example 127.0.0.1:8460")
    return host, int(port)
