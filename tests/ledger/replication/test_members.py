"""Three and four members on a real etcd and a PostgreSQL database each."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from contracts.core import commands as c
from contracts.core.parties import Role
from ledger.errors import NotFinalYet, OrderingUnavailable
from ledger.verify import parse_policy, verify_checkpoint, verify_proof
from tests.ledger.replicas import DEVICE, a_transfer, an_enrolment, an_issue, readings, sealed, transfers
from tests.ledger.replication.consortium import a_consortium, until
from tests.ledger.running import UTILITY_ID


@pytest.fixture
def three(tmp_path, new_database, etcd_servers):
    urls = [new_database("ledger") for _ in range(3)]
    return lambda **settings: a_consortium(urls, tmp_path, etcd_servers, **settings)


@pytest.fixture
def four(tmp_path, new_database, etcd_servers):
    urls = [new_database("ledger") for _ in range(4)]
    return lambda **settings: a_consortium(urls, tmp_path, etcd_servers, **settings)


async def test_what_is_sent_to_any_member_is_executed_the_same_by_all(three):
    async with three() as members:
        await members.start()
        (issued,) = await members[1].submit(an_issue())
        assert issued.code == "ok"
        sent = [transfers(40, first=100 * number) for number in range(1, 4)]
        answers = await asyncio.gather(*(members[number].submit(*sent[number - 1]) for number in range(1, 4)))
        assert {result.code for results in answers for result in results} == {"ok"}
        height = await members.agreed()
        forwarded = {each.name: each.replica.status()["forwarded"] for each in members.running}
        assert [forwarded[each.name] >= 40 for each in members.running if not each.orderer.leads] == [True, True]
        assert {each.replica.attested(issued.index or 0) for each in members.running} == {3}
        for each in members.running:
            policy = parse_policy(each.replica.policy(), strict=True)
            cosigned = verify_checkpoint(await each.replica.checkpoint(), policy, strict=True).cosigned_at_s
            assert len(cosigned) >= 2
            await until(lambda each=each: {row["height"] for row in each.replica.status()["replicas"]} == {height})


async def test_a_killed_proposer_costs_nothing_that_was_acknowledged_and_nothing_is_executed_twice(three):
    """Its block may be ordered, half forwarded transactions die with it; the others send again what they kept."""
    async with three() as members:
        await members.start()
        await members[1].submit(an_issue())
        dead = members.proposer
        others = [each for each in members.running if each is not dead]
        acknowledged: dict[str, tuple[int | None, int | None]] = {}

        async def load(number: int) -> None:
            for place in range(25):
                content, member = a_transfer(f"{number} {place}"), others[number % 2]
                result = await _known(member, content)
                assert result.code == "ok"
                acknowledged[result.id or ""] = (result.height, result.index)

        loads = [asyncio.create_task(load(number)) for number in range(8)]
        await until(lambda: len(acknowledged) > 40)
        await dead.kill()
        await asyncio.gather(*loads)
        await members.agreed()
        for each in others:
            rows = await each.sql("SELECT id, height, log_index FROM transactions WHERE command = 'Transfer'")
            assert {row.id: (row.height, row.log_index) for row in rows} == acknowledged
            assert len(rows) == 200
        await dead.start()
        await dead.serving()
        await members.agreed()
        (again,) = await dead.submit(a_transfer("0 0"))
        assert (again.height, again.index) == acknowledged[again.id or ""]


async def test_a_member_that_lags_calls_nobody_unknown_who_was_enrolled_elsewhere_a_moment_ago(three):
    """Its client would take the refusal for the outcome, although the order had the party already."""
    async with three() as members:
        await members.start()
        lagging = next(each for each in members.running if not each.orderer.leads)
        leader = members.proposer
        applied, slow = lagging.replica._following.apply, asyncio.Event()

        async def late(*given, **named):
            await slow.wait()
            await applied(*given, **named)

        lagging.replica._following.apply = late
        (enrolled,) = await leader.submit(an_enrolment(Role.DEVICE, DEVICE))
        assert enrolled.code == "ok"
        asked = asyncio.create_task(lagging.submit(readings(100, 200)))
        await asyncio.sleep(0.1)
        assert not asked.done()
        slow.set()
        (result,) = await asked
        assert (result.status, result.code) == ("committed", "ok")
        (refused,) = await lagging.submit(sealed("stranger", c.Transfer(to=UTILITY_ID, amount_minor=1, reference="")))
        assert (refused.status, refused.code, refused.height) == ("refused", "party_unknown", None), (
            "by the tip's state"
        )


async def test_with_one_of_three_away_payments_still_become_final(three):
    async with three() as members:
        await members.start()
        await members[1].submit(an_issue())
        away = next(each for each in members.running if not each.orderer.leads)
        await away.kill()
        (paid,) = await members.proposer.submit(*transfers(1))
        for each in members.running:
            await each.final(paid.height or 0)
            proof, opening = await each.replica.proof(paid.id or "", 0) or (b"", b"")
            assert verify_proof(proof, each.replica.policy(), opening, strict=True).fact
            assert each.replica.attested(paid.index or 0) == 2
            row = next(row for row in each.replica.status()["replicas"] if row["name"] == away.name)
            assert (row["lag"] > 0, row["reachable"]) == (True, False)
        await away.start()
        await members.agreed()
        await until(lambda: all(each.replica.attested(paid.index or 0) == 3 for each in members.running))


async def test_four_members_need_three_cosignatures(four):
    """More than two thirds: with two away nothing becomes final, and nothing that was final is lost."""
    async with four(answer_timeout_s=1.0) as members:
        await members.start()
        (issued,) = await members[1].submit(an_issue())
        await members.agreed()
        followers = [each for each in members.running if not each.orderer.leads]
        await followers[0].stop()
        (paid,) = await members.proposer.submit(*transfers(1))
        await asyncio.gather(*(each.final(paid.height or 0) for each in members.running))
        await followers[1].stop()
        (waiting,) = await members.proposer.submit(*transfers(1, first=1))
        assert waiting.code == "ok"
        assert not await members.proposer.replica.finality((waiting.index or 0) + 1)
        with pytest.raises(NotFinalYet):
            await members.proposer.replica.proof(waiting.id or "", None)
        assert members.proposer.replica.final_height == paid.height
        await followers[0].start()
        await asyncio.gather(*(each.final(waiting.height or 0) for each in members.running))
        assert issued.code == "ok"


async def test_without_a_majority_of_the_order_writes_are_refused_at_once_and_reads_go_on(three, etcd_servers):
    async with three() as members:
        await members.start()
        (issued,) = await members[2].submit(an_issue())
        await members.agreed()
        names = [server.name for server in etcd_servers.servers]
        for name in names[1:]:
            etcd_servers.kill(name)
        try:
            await asyncio.sleep(1)
            for each in members.running:
                started = time.monotonic()
                with pytest.raises(OrderingUnavailable):
                    await each.submit(*transfers(1))
                assert time.monotonic() - started < 2.5
                with pytest.raises(OrderingUnavailable):
                    await each.replica.current()
                found = await each.replica.transaction(issued.id or "")
                assert (found and found.height) == issued.height
                assert each.replica.status()["queue"] == 0
        finally:
            await etcd_servers.start()
        (result,) = [await _known(members[3], transfers(1)[0])]
        assert result.code == "ok"
        await members[1].replica.current()
        assert members[1].replica.height >= (result.height or 0)


async def _known(member, content):
    """The result of a transaction, sent until it is known."""
    for _ in range(300):
        with contextlib.suppress(OrderingUnavailable):
            (result,) = await member.submit(content)
            if result.status != "unknown":
                return result
        await asyncio.sleep(0.05)
    raise AssertionError("still unknown")
