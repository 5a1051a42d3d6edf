"""The two keys of a member as others know them: verifier keys, whose ids depend on the names they sign under."""

from __future__ import annotations

from contracts.core.commands import Member
from ledger.errors import GenesisInvalid
from ledger.log.checkpoint import cosigner_key, log_key
from ledger.verify import VerificationError
from ledger.verify.note import VerifierKey
from runtime.keys import PrivateKey


def verifier_keys(origin: str, member: str, log: PrivateKey, cosigner: PrivateKey) -> tuple[VerifierKey, VerifierKey]:
    """Log key and cosigning key. Raises GenesisInvalid for names that no note can use."""
    try:
        return log_key(origin, raw(log)), cosigner_key(member, raw(cosigner))
    except VerificationError as error:
        raise GenesisInvalid(f"the log's name {origin!r} or the member's {member!r} cannot be used: {error}") from None


def own_member(name: str, peer_url: str, origin: str, log: PrivateKey, cosigner: PrivateKey) -> Member:
    """This member as the founders list it. Raises GenesisInvalid."""
    log_vkey, cosigner_vkey = verifier_keys(origin, name, log, cosigner)
    return Member(name=name, log_vkey=log_vkey.encode(), cosigner_vkey=cosigner_vkey.encode(), peer_url=peer_url)


def renamed(member: Member, origin: str) -> Member:
    """The same member in a log of another name: the key is the same, its id is not. Raises GenesisInvalid."""
    try:
        public = VerifierKey.parse(member.log_vkey).public
        log_vkey = log_key(origin, public).encode()
    except VerificationError as error:
        raise GenesisInvalid(f"the log key of {member.name} cannot be used: {error}") from None
    return Member(name=member.name, log_vkey=log_vkey, cosigner_vkey=member.cosigner_vkey, peer_url=member.peer_url)


def raw(key: PrivateKey) -> bytes:
    """The 32 bytes of an Ed25519 public key."""
    return bytes.fromhex(key.public.partition(":")[2])
