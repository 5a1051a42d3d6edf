"""Errors of the runtime package.

GridpactError                    everything a process can explain to its operator
├── SettingsError                a setting is missing, misspelt or wrong
├── KeyFileError                 a private key file cannot be used
├── ClockFileError               the file with epoch and speed cannot be used
├── InsecureAddress              plain HTTP was asked for off loopback
├── AddressUnusable              nobody can listen there: another program does, or this machine has no such address
├── PostgresError                the embedded PostgreSQL cannot run
│   ├── PostgresUnavailable      no binaries, or no account to run them under
│   ├── DatabaseUnreachable      the PostgreSQL server that was named does not let us in
│   ├── DataFolderLocked         another process owns the data folder
│   └── WrongDataVersion         the data folder belongs to another major version
├── SchemaError                  the migrations cannot be found or run
│   └── StaleSchema              the database is not at the version this program needs
├── Attention                    a dependency can be used, and somebody should look at it before it cannot
└── ProblemError                 (runtime.service) an answer of the HTTP interface
"""

from __future__ import annotations

from typing import ClassVar


class GridpactError(Exception):
    """Base of every error that is shown to an operator as one sentence: what, why and what to do next."""

    exit_code: ClassVar[int] = 1


class SettingsError(GridpactError):
    """A setting is missing, misspelt or wrong; the message names each one."""

    exit_code = 2


class KeyFileError(GridpactError):
    """A private key file is missing, readable by others, damaged, or already there when one is to be created."""

    exit_code = 2


class ClockFileError(GridpactError):
    """The clock file is missing or does not hold epoch_wall_ms, epoch_domain_ms and speed."""

    exit_code = 2


class InsecureAddress(GridpactError):
    """Plain HTTP was asked for on an address other machines can reach."""

    exit_code = 2


class AddressUnusable(GridpactError):
    """The address or port to listen on cannot be had."""

    exit_code = 2


class PostgresError(GridpactError):
    """The embedded PostgreSQL cannot be started or stopped."""

    exit_code = 4


class PostgresUnavailable(PostgresError):
    """There are no PostgreSQL binaries, or no unprivileged account to run them under."""


class DatabaseUnreachable(PostgresError):
    """No connection to the server: it does not run there, or refuses user, password or database."""


class DataFolderLocked(PostgresError):
    """Another process holds the lock of the data folder. `briefly`: a command that lets go when it is done."""

    def __init__(self, message: str, *, briefly: bool = False) -> None:
        super().__init__(message)
        self.briefly = briefly


class WrongDataVersion(PostgresError):
    """The data folder was made by another major version of PostgreSQL."""


class SchemaError(GridpactError):
    """The migrations of a package cannot be found or run."""

    exit_code = 3


class StaleSchema(SchemaError):
    """The database is not at the schema version of this program; the message names the command to run."""


class Attention(GridpactError):
    """Raised by a readiness check: the service is ready, and `/readyz` shows the message as a warning."""
