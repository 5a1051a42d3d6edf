"""The guides under docs/ are followed: their commands exist with these options, and what openssl makes as they say is
what the VTN reads."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_csr

from contracts.core.commands import Enrolment, enrolment_bytes
from contracts.core.parties import Role
from ledger.client import party_id
from openadr import v2
from openadr.v2.document.leniency import Leniency
from runtime.keys import verify
from runtime.tls.certificates import read_chain
from tests.reference import PROCESSES, commands, parameters
from vtn.services.enrolment import EnrolmentRequest

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs").glob("*.md"))
DEVICE = (ROOT / "docs" / "certified-device.md").read_text()
STEPS = re.findall(r"```sh device\n(.*?)```", DEVICE, re.DOTALL)


def shell_lines() -> list[tuple[str, str]]:
    """(page, command) of each command of ours in a block of a guide or an indented block of the README."""
    found = []
    for page in [ROOT / "README.md", *GUIDES]:
        text = page.read_text()
        blocks = re.findall(r"```sh[^\n]*\n(.*?)```", text, re.DOTALL)
        blocks += re.findall(r"(?:^    .*\n)+", text, re.MULTILINE) if page.name == "README.md" else []
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|;|\|", line.split(" #")[0]):
                command = re.sub(r"^\s*(?:export )?(?:[A-Z_]+=\S+ )*", "", part).strip()
                if command.split(" ")[0] in PROCESSES:
                    found.append((page.name, command))
    return found


@pytest.mark.parametrize(("page", "line"), shell_lines())
def test_a_command_in_a_guide_exists_with_its_options(page, line):
    words = shlex.split(line.replace("$(", "(").replace("...", "x"))
    known = dict(commands(words[0], PROCESSES[words[0]]))
    path, rest = words[0], words[1:]
    while rest and f"{path} {rest[0]}" in known:
        path, rest = f"{path} {rest[0]}", rest[1:]
    options = {name for names, _ in parameters(known[path]) for name in re.split(r"[,/ ]+", names)}
    assert {word.split("=")[0] for word in rest if word.startswith("--")} <= options, f"{page}: {line}"
    assert path != words[0] or not getattr(known[path], "commands", None), f"{page}: {line}"


@pytest.fixture
def shell(tmp_path):
    """Runs a part of the guide as it stands, in a folder of its own; curl is not there to be called."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "curl").write_text(
        "#!/bin/sh\nwhile [ $# -gt 1 ]; do [ $1 = --data-binary ] && cat ${2#@} | sed 's/^-$//'; shift; done\n"
    )
    (tmp_path / "bin" / "curl").chmod(0o755)

    def run(script: str) -> str:
        given = f'PATH="{tmp_path}/bin:$PATH"; set -e\n{script}'
        return subprocess.run(
            ["bash", "-c", given], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    return run


def step(word: str) -> str:
    """The one block of the device with this word."""
    [found] = [block for block in STEPS if word in block]
    return found


def test_the_fingerprint_by_openssl_is_ours(shell, tmp_path):
    shell(step("vendor.key"))
    printed = shell(step("-fingerprint")).strip()
    assert printed == v2.fingerprint(read_chain(tmp_path / "ecc.pem")[0].public_bytes(Encoding.DER))
    assert read_chain(tmp_path / "rsa.pem")[0].public_key().key_size == 2048


def test_the_enrolment_by_openssl_is_what_the_vtn_reads(shell, tmp_path):
    (tmp_path / "invitations").mkdir()
    invitation = {"code": "a-code", "area": "feeder-1", "sponsor": "agg-1", "ven_name": "pump-3"}
    (tmp_path / "invitations" / "pump-3.json").write_bytes(msgspec.json.format(msgspec.json.encode(invitation)))
    shell(step("genpkey").partition("curl ")[0])
    asked = msgspec.json.decode((tmp_path / "enrolment.json").read_bytes(), type=EnrolmentRequest)
    enrolment = Enrolment(
        party=party_id(Role.DEVICE, asked.public_key),
        role=Role.DEVICE,
        key=asked.public_key,
        sponsor="agg-1",
        area="feeder-1",
    )
    assert verify(asked.public_key, enrolment_bytes(enrolment), bytes.fromhex(asked.proof))
    assert asked.certificate_request is not None
    assert load_pem_x509_csr(asked.certificate_request.encode()).is_signature_valid


def test_the_messages_written_by_hand_are_read(shell, tmp_path):
    """As shell and curl send them."""
    shell(step("message.sh <<").split("CIPHERS=ECDHE")[0])
    (tmp_path / "registered.xml").write_text("<ei:venID>ven-1</ei:venID>\n")
    shell(step("oadrPoll ei").split("sh message.sh")[0])
    opted = step("oadrCreatedEvent").split("sh message.sh EiEvent")[0].split("REQUEST=")[1]
    shell(f"VEN=ven-1; true REQUEST={opted}".replace("true REQUEST=", "REQUEST=dist-1; true ", 1))
    kinds = []
    for name in ("register.xml", "poll.xml", "created.xml"):
        sent = shell(f"sh message.sh Service ecc < {name}")
        repairs: list[Leniency] = []
        kinds.append(v2.parse(sent.encode(), lenient=True, leniencies=repairs))
        assert repairs == []
    assert [v2.wire_name(each) for each in kinds] == ["oadrCreatePartyRegistration", "oadrPoll", "oadrCreatedEvent"]
    assert kinds[2].event_responses[0].event_id == "trial-1"


def test_nginx_is_told_what_the_guide_says():
    written = (ROOT / "deploy" / "nginx.conf").read_text()
    guide = (ROOT / "docs" / "nginx.md").read_text()
    reached = re.findall(r"location [^}]*proxy_pass[^}]*}", written)
    assert len(reached) == 2
    assert all("proxy_set_header X-Client-Cert" in each and "proxy_bind 127.0.0.2" in each for each in reached)
    assert "ssl_verify_client on" in written
    for name in re.findall(r"/etc/nginx/gridpact/(\S+?);", written):
        assert name in guide
