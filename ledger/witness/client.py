"""Asks one witness to cosign (c2sp.org/tlog-witness)."""

from __future__ import annotations

import ssl as ssl_module
from collections.abc import Sequence
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp

from ledger.log.extension import write_extension
from ledger.verify import VerificationError
from ledger.verify.note import NoteSignature, parse_checkpoint, parse_decimal
from ledger.witness.errors import CheckpointRefused, SizeConflict, WitnessUnavailable
from ledger.witness.trust import ExternalWitness
from runtime.service import refuse_plain_http

SIZE_TYPE: Final = "text/x.tlog.size"
_ANSWER_BYTES_MAX: Final = 256 << 10
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10, sock_connect=3)
_REFUSALS: Final = frozenset({400, 403, 404, 422})


class WitnessClient:
    """One witness, over a connection that is kept. Use it as a context. Raises InsecureAddress for plain HTTP off
    loopback."""

    def __init__(self, witness: ExternalWitness, ssl: ssl_module.SSLContext | None = None) -> None:
        if urlsplit(witness.url).scheme != "https":
            refuse_plain_http(urlsplit(witness.url).hostname or "", None)
        self.witness = witness
        self._ssl = ssl
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=1, ssl=self._ssl or True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def add_checkpoint(self, old_size: int, hashes: Sequence[bytes], note: bytes) -> NoteSignature:
        """The witness's line for a checkpoint, verified; `hashes`: the consistency proof from `old_size`. Raises
        SizeConflict with the size it knows, CheckpointRefused, WitnessUnavailable."""
        body = write_extension(old_size, hashes, note)
        try:
            async with self._session.post(
                f"{self.witness.url}/add-checkpoint", data=body, allow_redirects=False
            ) as response:
                answer = await _read(response)
                media = response.headers.get("Content-Type", "").partition(";")[0].strip()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise WitnessUnavailable(f"{self.witness.url} does not answer: {error or type(error).__name__}") from None
        if status == 409 and media == SIZE_TYPE:
            raise SizeConflict(_size(answer), "the witness has cosigned another size")
        if status == 409 or status in _REFUSALS:
            raise CheckpointRefused(status, f"{self.witness.url} refused: HTTP {status} {_shown(answer)}")
        if status != 200:
            raise WitnessUnavailable(f"{self.witness.url} answered HTTP {status} {_shown(answer)}")
        return self._line(note, answer)

    def _line(self, note: bytes, answer: bytes) -> NoteSignature:
        """The newest line by the witness's key; what others signed is ignored, as the text demands."""
        key = self.witness.key
        checkpoint = parse_checkpoint(note)
        text = checkpoint.text.encode()
        try:
            lines = parse_checkpoint(text + b"\n" + answer).signatures
            found = [line for line in lines if (line.name, line.key_id) == (key.name, key.key_id)]
            if not found:
                raise WitnessUnavailable(f"{self.witness.url} cosigned with another key than {key.encode()}")
            for line in found:
                key.verify(checkpoint.text, line.signature)
        except VerificationError as error:
            raise WitnessUnavailable(f"{self.witness.url} answered no cosignature: {error}") from None
        return found[-1]


async def _read(response: aiohttp.ClientResponse) -> bytes:
    answer = b""
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > _ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError(f"more than {_ANSWER_BYTES_MAX} bytes")
    return answer


def _size(answer: bytes) -> int:
    try:
        text = answer.decode("ascii").removesuffix("\n")
        return parse_decimal(text, "note_malformed")
    except (UnicodeDecodeError, VerificationError):
        raise WitnessUnavailable("the witness answered 409 without a size") from None


def _shown(answer: bytes) -> str:
    return answer[:200].decode(errors="replace").replace("\n", " ").strip()
