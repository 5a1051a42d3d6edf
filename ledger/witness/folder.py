"""The folder of a witness: made once, checked whenever it is opened.

witness.key    cosigns                                        (0600)
witness.vkey   the public half, for policies: NAME+ID+KEY
cosigned.db    what was cosigned (ledger.witness.record)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from ledger.log.checkpoint import cosigner_key
from ledger.verify import VerificationError
from ledger.verify.note import COSIGNATURE_V1, VerifierKey
from ledger.witness.errors import WitnessExists, WitnessInvalid
from ledger.witness.record import Record
from runtime.keys import PrivateKey

KEY_FILE: Final = "witness.key"
VKEY_FILE: Final = "witness.vkey"
RECORD_FILE: Final = "cosigned.db"


class Opened(NamedTuple):
    """A witness as its folder holds it; close `record` at the end."""

    key: VerifierKey
    private: PrivateKey
    record: Record


def create(folder: Path, name: str) -> VerifierKey:
    """Makes key and record of a new witness. Raises WitnessExists, WitnessInvalid for a name no note can use."""
    _public(name, PrivateKey.generate())
    for file in (KEY_FILE, VKEY_FILE, RECORD_FILE):
        if (folder / file).exists():
            raise WitnessExists(f"{folder / file} exists: a witness is made once and never over another")
    private = PrivateKey.create(folder / KEY_FILE)
    key = _public(name, private)
    Record.create(folder / RECORD_FILE, key.encode())
    (folder / VKEY_FILE).write_text(key.encode() + "\n", encoding="utf-8")  # the last: without it nothing opens
    _sync(folder)
    return key


def open_witness(folder: Path) -> Opened:
    """Raises WitnessInvalid, KeyFileError."""
    path = folder / VKEY_FILE
    try:
        key = VerifierKey.parse(path.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        raise WitnessInvalid(
            f"there is no witness in {folder}: make one with `dr-ledger witness create --name NAME --data-dir {folder}`"
        ) from None
    except (OSError, UnicodeDecodeError, VerificationError) as error:
        raise WitnessInvalid(f"{path} cannot be used: {error}") from None
    private = PrivateKey.load(folder / KEY_FILE)
    if key.type != COSIGNATURE_V1 or _public(key.name, private) != key:
        raise WitnessInvalid(f"{path} is not of the key in {folder / KEY_FILE}: restore the folder's files")
    return Opened(key, private, Record.open(folder / RECORD_FILE, key.encode()))


def _public(name: str, private: PrivateKey) -> VerifierKey:
    try:
        return cosigner_key(name, bytes.fromhex(private.public.partition(":")[2]))
    except VerificationError as error:
        raise WitnessInvalid(f"{name!r} can be no name of a witness, such as witness.example/w1: {error}") from None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
