"""compose.yaml describes what the programs really are: settings, commands, files and images that exist.

No engine runs it here; what an engine would find out at its start is checked instead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ledger.cli import app
from ledger.config import LedgerSettings
from tests.deploy.yaml_subset import Unreadable, read

ROOT = Path(__file__).parents[2]
COMPOSE = read((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
MEMBERS = ("utility", "aggregator", "auditor")
KINDS = ("replica", "join", "migrate", "postgres", "etcd")

each_service = pytest.mark.parametrize("name", SERVICES)


def image_targets() -> set[str]:
    return set(re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE))


def command_parameters(arguments: list[str]) -> tuple[list[str], set[str]]:
    """The options given to a command of dr-ledger, and those it knows. Fails where there is no such command."""
    command = typer.main.get_command(app)
    given: list[str] = []
    known: set[str] = set()
    for each in arguments:
        if each.startswith("-"):
            given.append(each.partition("=")[0])
        else:
            command = command.commands[each]  # type: ignore[attr-defined]
            known |= {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
    return given, known


def test_three_members_each_have_a_replica_a_database_and_a_server_of_the_order():
    assert set(SERVICES) == {f"{kind}-{member}" for kind in KINDS for member in MEMBERS} | {"order-users"}


@each_service
def test_every_variable_of_the_ledger_is_a_setting(name: str):
    prefix, places = LedgerSettings.prefix(), ("CONFIG", "SECRETS_DIR")
    known = {f"{prefix}{field.upper()}" for field in LedgerSettings.model_fields} | {
        f"{prefix}{each}" for each in places
    }
    given = SERVICES[name].get("environment") or {}
    assert {each for each in given if each.startswith(prefix)} <= known


@each_service
def test_every_command_of_the_ledger_exists_with_its_options(name: str):
    command = SERVICES[name].get("command", ["postgres"])
    if command[0] == "dr-ledger":
        given, known = command_parameters(command[1:])
        assert set(given) <= known


@each_service
def test_nobody_runs_as_root_or_with_more_rights_than_needed(name: str):
    service = SERVICES[name]
    assert not service["user"].startswith(("0", "root"))
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] == "true"


@each_service
def test_every_image_is_pinned_and_ours_can_be_built(name: str):
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[a-z-]+:\d[\w.-]*\d[\w.-]*", image)
    build = SERVICES[name].get("build")
    assert (build is None) == image.startswith("postgres:")
    assert build is None or build["target"] in image_targets()


def test_the_images_are_made_from_pinned_ones():
    sources = re.findall(r"^FROM (\S+) AS", DOCKERFILE, re.MULTILINE)
    foreign = [each for each in sources if each not in image_targets()]
    assert foreign
    assert all(re.fullmatch(r"\w+:[\w.-]*\d[\w.-]*", each) and "latest" not in each for each in foreign)


@each_service
def test_what_a_service_refers_to_is_defined_and_every_secret_is_a_file(name: str):
    service = SERVICES[name]
    for kind in ("secrets", "configs"):
        for each in service.get(kind, ()):
            assert COMPOSE[kind][each["source"]]["file"].startswith("deploy/members/")
            assert each["target"].startswith("/run/")
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert {each.partition(":")[0] for each in service.get("volumes", ())} <= set(COMPOSE["volumes"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_no_variable_holds_a_secret():
    given = {key: value for service in SERVICES.values() for key, value in (service.get("environment") or {}).items()}
    assert not [key for key in given if re.search("PASSWORD$|_URL$|TOKEN|SECRET$", key)]


@pytest.mark.parametrize("member", MEMBERS)
def test_settings_that_are_files_lie_where_their_files_are_put(member: str):
    service = SERVICES[f"replica-{member}"]
    targets = {each["target"] for each in [*service["secrets"], *service["configs"]]}
    environment = service["environment"]
    paths = {value for key, value in environment.items() if re.search("CERTIFICATE|_KEY$|_CA$", key)}
    assert paths <= targets
    for folder, names in (
        (environment["DR_LEDGER_SECRETS_DIR"], {"etcd_password", "database_url"}),
        (environment["DR_LEDGER_KEYS_DIR"], {"log.key", "cosigner.key", "member.json"}),
    ):
        assert {each.rpartition("/")[2] for each in targets if each.startswith(f"{folder}/")} == names


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_asks_its_own_server_of_the_order_first_and_knows_all(member: str):
    endpoints = SERVICES[f"replica-{member}"]["environment"]["DR_LEDGER_ETCD_ENDPOINTS"].split(",")
    assert endpoints[0] == f"https://etcd-{member}:2379"
    assert sorted(endpoints) == sorted(f"https://etcd-{each}:2379" for each in MEMBERS)
    cluster = {f"{each}=https://etcd-{each}:2380" for each in MEMBERS}
    flags = dict(
        each[2:].partition("=")[::2] for each in SERVICES[f"etcd-{member}"]["command"] if each.startswith("--")
    )
    assert set(flags["initial-cluster"].split(",")) == cluster
    assert "client-cert-auth" in flags
    assert "peer-client-cert-auth" in flags


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_reaches_no_database_but_its_own(member: str):
    shared = set(SERVICES[f"postgres-{member}"]["networks"])
    reached = {name for name, service in SERVICES.items() if shared & set(service["networks"])}
    assert reached == {f"{kind}-{member}" for kind in KINDS if kind != "etcd"}
    assert COMPOSE["networks"][member] == {"internal": "true"}


@pytest.mark.parametrize("kind", ["replica", "postgres", "etcd"])
def test_what_runs_for_long_is_watched_and_kept_on_a_volume_of_its_own(kind: str):
    volumes = []
    for member in MEMBERS:
        service = SERVICES[f"{kind}-{member}"]
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"
        volumes += service["volumes"]
    assert len({each.partition(":")[0] for each in volumes}) == len(MEMBERS)


@pytest.mark.parametrize(
    "text",
    ["a: {b: c}", "a: |\n  b", "a: 'b'", "a: *nobody", "a: 1\na: 2", "- a\nb: c", "a:\n    b: c\n  d: e", "a: !tag b"],
)
def test_what_the_reader_of_the_file_does_not_know_it_refuses(text: str):
    with pytest.raises(Unreadable):
        read(text)
