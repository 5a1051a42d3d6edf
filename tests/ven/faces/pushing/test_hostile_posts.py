"""Whatever is posted to a VEN in push mode is answered by a valid OpenADR message, and the VEN goes on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from openadr.v2 import parse
from tests.ven.faces.pushing.test_push import Pushed
from tests.ven.faces.scripted import VEN, distribute
from tests.ven.faces.ven import until

GOLDEN = sorted((Path(__file__).parents[3] / "openadr" / "v2" / "golden").glob("*.xml"))
POSTS = 200


def mutated(body: bytes, chance: random.Random) -> bytes:
    """The message with a few bytes cut, doubled or changed, or with another venID; sometimes as it is."""
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(len(body))
        length = chance.randint(1, 40)
        match chance.randrange(4):
            case 0:
                body = body[:at] + body[at + length :]
            case 1:
                body = body[:at] + body[at : at + length] * chance.randint(2, 50) + body[at + length :]
            case 2:
                body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
            case _:
                body = body.replace(b"00123", VEN.encode())
    return body or b"<"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_no_post_is_answered_by_anything_but_a_message(vtn, tmp_path, session):
    ven = Pushed(tmp_path, vtn.url, session)
    chance = random.Random(20_261_121)
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        for _ in range(POSTS):
            body = mutated(chance.choice(GOLDEN).read_bytes(), chance)
            service = chance.choice(["EiEvent", "EiReport", "EiRegisterParty", "EiOpt", "OadrPoll"])
            url = f"http://127.0.0.1:{ven.port}/OpenADR2/Simple/2.0b/{service}"
            async with session.post(url, data=body) as response:
                answer = parse(await response.read())
                assert response.status == 200, body
            assert getattr(answer, "response", None) is not None, body
            assert answer.response.response_code != 469, body
        await until(lambda: ven.registrar.current is not None)
        assert (await ven.post(distribute())).name == "oadrResponse"
