"""`dr-ledger`: found and run a replica, sign for a party, read and prove what the ledger holds.

Exit codes: 0 done, 1 failed, 2 usage, settings or key files, 3 schema, 4 PostgreSQL, 5 ledger not reached or answer
unknown, 6 refused by the ledger, 7 founding or replica, 8 the ledger does not verify, 9 not there, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from contracts.core.errors import CodecError
from ledger.cli import evidence, keys, operations, proving, reading, replica, sending, witness
from ledger.cli.channels import hosting, privacy
from ledger.cli.consortium import cluster, copying, etcd, founding, members, order
from ledger.verify import VerificationError
from runtime.errors import GridpactError

app = typer.Typer(
    name="dr-ledger",
    help="The ledger: orders, executes, stores and proves demand-response contracts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS: tuple[Callable[..., None], ...] = (
    replica.init,
    founding.join,
    replica.migrate,
    replica.serve,
    replica.check,
    replica.verify,
    order.begin_order,
    copying.copy_state,
    operations.backup,
    operations.backup_key,
    operations.restore,
    operations.export,
    operations.proxy,
    sending.issue,
    sending.transfer,
    sending.request_reduction,
    reading.status,
    reading.facts,
    proving.proof,
    proving.balance,
    reading.refusals,
    evidence.diverge,
    privacy.disclose,
    privacy.erase,
)
for command in _COMMANDS:
    app.command()(command)
app.add_typer(cluster.app, name="cluster")
app.add_typer(founding.app, name="member")
app.add_typer(members.app, name="members")
app.add_typer(etcd.app, name="etcd")
app.add_typer(evidence.app, name="evidence")
app.add_typer(hosting.app, name="channels")
app.add_typer(privacy.disclosures, name="disclosure")
app.add_typer(privacy.pseudonyms, name="pseudonyms")
app.add_typer(keys.app, name="keys")
app.add_typer(reading.app, name="show")
app.add_typer(witness.app, name="witness")


def main() -> None:
    """Runs the command line; an error is one sentence on stderr and a stable exit code."""
    try:
        app()
    except VerificationError as error:
        _fail(f"what the ledger gave does not verify: {error}", 8)
    except CodecError as error:
        _fail(f"an option has a value that no transaction can hold: {error}", 2)
    except GridpactError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(f"a file or folder cannot be used: {error}", 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str, code: int) -> None:
    typer.echo(f"dr-ledger: {message}", err=True)
    sys.exit(code)
