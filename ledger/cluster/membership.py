"""A local consortium grows and shrinks while it runs: what people do on several machines, done on one.

    add     certificates, keys ─▶ joins the ledger's files ─▶ etcd user, learner ─▶ processes start ─▶ etcd promotes
            ─▶ ChangeMembership, approved by all present members and the new one
    remove  ChangeMembership ─▶ once it holds: etcd removes ─▶ processes stop; the certificate is not renewed

`cluster up` looks at cluster.json and starts or stops what changed there. `remove` is called again once its change
holds.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from contracts.consortium.membership import FOUNDING_KEY, LEAD_HEIGHTS, FoundingRecord, MemberRecord
from contracts.core.commands import Member as MemberPart
from ledger.client import LedgerClient
from ledger.cluster.layout import CHANNEL, ORIGIN, ClusterError, Layout, label_of
from ledger.cluster.order import PREFIX, operator, write_password
from ledger.cluster.preparation import issue_certificates, migrate, settings_of, write_settings
from ledger.cluster.proposal import Proposal
from ledger.errors import OrderingUnavailable
from ledger.founding import create_member, join
from runtime.keys import PrivateKey

#: blocks between a change and its effect: on one machine all approve at once
IN_BLOCKS: Final = LEAD_HEIGHTS + 2
_PROMOTE_S: Final = 60.0
_LOOK_S: Final = 0.5


async def add(layout: Layout, name: str, client: LedgerClient) -> int:
    """Adds a member to a consortium that is up; returns the height from which it is one. `client` signs as any party.

    Raises ClusterError, Refused, LedgerUnavailable."""
    _several(layout)
    label = label_of(name)
    if label in {member.label for member in layout.members}:
        raise ClusterError(f"{name}: a member with the label {label} is there already")
    spare = Layout.plan(layout.folder, [name], port=0).members[0]
    new = replace(spare, etcd_joined_later=True)
    grown = replace(layout, members=(*layout.members, new))
    try:
        new.folder.mkdir(parents=True)
    except FileExistsError:
        raise ClusterError(
            f"{new.folder} is of a member whose addition was cut short or that was removed: move it away, and take its "
            "etcd out with `dr-ledger etcd remove` if it is still listed there"
        ) from None
    if layout.tls or layout.api_tls:
        issue_certificates(grown, only=new)
    write_settings(grown, new)
    settings, founders = settings_of(new), settings_of(layout.members[0])
    made = create_member(settings, name=name, peer_url=grown.peer_url(new), origin=ORIGIN)
    join(settings, genesis=founders.genesis_file, policy=founders.policy_file)
    await migrate(new)
    async with operator(layout) as etcd:
        await etcd.add_user(label, write_password(new.etcd_password_file), [f"{PREFIX}/".encode()])
        await etcd.add([grown.etcd_peer_url(new)])
    grown.write()
    await _promote(layout, label)
    return await _change(grown, client, "add", name, made)


async def remove(layout: Layout, name: str, client: LedgerClient) -> int | None:
    """Removes a member; returns the height until which it still is one, None once it is out for good.

    Raises ClusterError, Refused, LedgerUnavailable."""
    _several(layout)
    leaving = next((member for member in layout.members if name in (member.name, member.label)), None)
    if leaving is None:
        raise ClusterError(f"no member is named {name}: see `dr-ledger cluster status`")
    record = await client.record(MemberRecord, leaving.name)
    if record is not None and record.until_height is None:
        return await _change(layout, client, "remove", leaving.name, None)
    height = (await client.status())["height"]
    if record is not None and record.until_height is not None and height + 1 < record.until_height:
        return record.until_height
    left = replace(layout, members=tuple(member for member in layout.members if member is not leaving))
    async with operator(left) as etcd:
        for each in await etcd.members():
            if each.name == leaving.label:
                await etcd.remove(each.id)
    left.write()
    return None


async def _change(layout: Layout, client: LedgerClient, change: str, name: str, made: MemberPart | None) -> int:
    """ChangeMembership with the approval of every member whose key is here."""
    founding = await client.record(FoundingRecord, FOUNDING_KEY)
    if founding is None:
        raise ClusterError("this ledger does not say how it was founded: its members cannot change")
    proposal = Proposal(
        ledger=founding.genesis,
        channel=CHANNEL,
        change="add" if change == "add" else "remove",
        name=name,
        member=made,
        effective_height=(await client.status())["height"] + IN_BLOCKS,
    )
    approvals = [
        proposal.approve(member.name, PrivateKey.load(settings_of(member).cosigner_key_file))
        for member in layout.members
    ]
    await client.submit(proposal.command(approvals))
    return proposal.effective_height


async def _promote(layout: Layout, label: str) -> None:
    """Gives the learner its vote as soon as it is in sync."""
    loop = asyncio.get_running_loop()
    deadline, reason = loop.time() + _PROMOTE_S, "it has not started"
    async with operator(layout) as etcd:
        while loop.time() < deadline:
            try:
                for each in await etcd.members():
                    if each.name == label and each.learner:
                        await etcd.promote(each.id)
                    if each.name == label:
                        return
            except OrderingUnavailable as error:  # not in sync yet, or busy with its snapshot
                reason = str(error)
            await asyncio.sleep(_LOOK_S)
    raise ClusterError(f"etcd-{label} is not in sync after {_PROMOTE_S:.0f} s ({reason}): see its log")


def _several(layout: Layout) -> None:
    if layout.orderer != "etcd":
        raise ClusterError(
            "a consortium of one orders by itself, and this command adds to an order in etcd: found one of several "
            "with `dr-ledger cluster up --members 3`, or move the order first (ledger/DESIGN.md says how one member "
            "becomes several)"
        )
