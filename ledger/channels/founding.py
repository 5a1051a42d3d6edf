"""Founding a child channel: its genesis names its own members and, as its parent, the channel money comes from.

    main's folder ── found_child ──▶ channels/<name>/  genesis.json policy.txt members.json channel-keys.json
                                          │ to the other members: join_child
                                          └─ opening ──▶ OpenChannel on main, signed by who may

The members use the keys they have: a cosignature names the log it is of. A channel whose blocks may enter the order in
clear has channel-plain.txt instead of channel-keys.json; with neither of them nobody joins it or orders in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from contracts.core.codec import decode, digest
from contracts.core.commands import ChannelMember, Enrolment, Member, OpenChannel
from contracts.core.errors import CodecError
from contracts.core.proofs import cosigner_key
from contracts.rules import Genesis, ParentChannel
from ledger import founding
from ledger.app import KEYS_FILE, PLAIN_FILE
from ledger.channels.sealing.keys import ChannelKeys
from ledger.config import LedgerSettings
from ledger.errors import GenesisInvalid
from ledger.founding import Founded
from ledger.founding.folder import GENESIS_BYTES_MAX
from ledger.founding.keys import own_member
from ledger.log.policy import parties_of
from ledger.verify.policy import parse_policy
from runtime.keys import PrivateKey


def found_child(
    settings: LedgerSettings,
    main: Founded,
    name: str,
    *,
    parties: Sequence[Enrolment],
    created_ms: int,
    members: Sequence[Member] = (),
    quorum: int | None = None,
    restricted: bool = True,
) -> tuple[Genesis, bytes]:
    """Writes the folder of channel `name` below main's; genesis and policy. members: those of the channel (none: this
    member alone). Raises GenesisExists, GenesisInvalid."""
    origin = f"{main.genesis.origin.rpartition('/')[0]}/{name}"
    if name == main.genesis.channel:
        raise GenesisInvalid(f"channel {name} is there: a child needs a name of its own")
    own = own_member(main.member, _own_url(settings, main), origin, main.log_key, main.cosigner_key)
    agreed, policy = founding.consortium(
        list(members) or [own],
        parties=parties,
        channel=name,
        origin=origin,
        contracts_root=founding.contracts_root(),
        created_ms=created_ms,
        parent=parent_of(main),
        quorum=quorum,
    )
    of_channel = settings.of_channel(name)
    founding.found_consortium(of_channel, agreed, policy)
    if restricted:
        keys = ChannelKeys.create(name, cosigners(agreed), main.cosigner_key)
        keys.save(of_channel.data_dir / KEYS_FILE)
    else:
        (of_channel.data_dir / PLAIN_FILE).write_bytes(b"")
    return agreed, policy


def join_child(settings: LedgerSettings, folder: Path) -> Founded:
    """Takes what another member founded: genesis, policy, members and channel keys. Raises GenesisInvalid,
    GenesisExists, ChannelKeyMissing (also where keys were founded and did not come along), ChannelKeyInvalid."""
    try:
        name = decode((folder / "genesis.json").read_bytes(), Genesis, bytes_max=GENESIS_BYTES_MAX).channel
    except (OSError, CodecError) as error:
        raise GenesisInvalid(f"{folder} is no folder of a channel: {error}") from None
    of_channel, keys_file = settings.of_channel(name), folder / KEYS_FILE
    keys: ChannelKeys | None = None
    if not (folder / PLAIN_FILE).exists():
        keys = ChannelKeys.load(keys_file, name, PrivateKey.load(of_channel.cosigner_key_file))
        keys.secret(keys.at(1))  # not for this member: said before anything is written
    founded = founding.join(
        of_channel, genesis=folder / "genesis.json", policy=folder / "policy.txt", members=folder / "members.json"
    )
    if keys is not None:
        keys.save(of_channel.data_dir / KEYS_FILE)
    else:
        (of_channel.data_dir / PLAIN_FILE).write_bytes(b"")
    return founded


def leave_child(settings: LedgerSettings, name: str) -> Path:
    """Sets the folder of a channel aside, so that it is hosted no more; where it is then. Raises GenesisInvalid."""
    folder, aside = settings.of_channel(name).data_dir, settings.data_dir / "left-channels" / name
    if not (folder / "genesis.json").exists():
        raise GenesisInvalid(f"there is no channel {name} in {settings.data_dir}")
    if aside.exists():
        raise GenesisInvalid(f"{aside} is there already: channel {name} was left before; move it away")
    aside.parent.mkdir(exist_ok=True)
    return folder.rename(aside)


def opening(agreed: Genesis, policy: bytes) -> OpenChannel:
    """The command that registers the channel on its parent."""
    return OpenChannel(
        channel=agreed.channel,
        origin=agreed.origin,
        genesis=digest(agreed),
        members=tuple(ChannelMember(name=name, key=key) for name, key in sorted(cosigners(agreed).items())),
        quorum=_threshold(policy),
    )


def parent_of(main: Founded) -> ParentChannel:
    """Main as a child founded now must know it: by the policy that its clients hold."""
    members = parties_of(parse_policy(main.policy)).members
    named = [ChannelMember(name=key.name, key=f"ed25519:{key.public.hex()}") for key in members]
    return ParentChannel(
        channel=main.genesis.channel,
        origin=main.genesis.origin,
        members=tuple(sorted(named, key=lambda each: each.name)),
        quorum=_threshold(main.policy),
    )


def cosigners(agreed: Genesis) -> dict[str, str]:
    """Name -> cosigning key of the founding members."""
    return {each.name: cosigner_key(each.cosigner_vkey, each.name) for each in agreed.members}


def _threshold(policy: bytes) -> int:
    return parties_of(parse_policy(policy)).quorum


def _own_url(settings: LedgerSettings, main: Founded) -> str:
    known = {each.name: each.peer_url for each in main.genesis.members}
    return known.get(main.member, f"http://{settings.peer_host}:{settings.peer_port}")
