"""The lists that people write: of logs for a witness, of witnesses for a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.log.checkpoint import cosigner_key, log_key
from ledger.log.policy import write_policy
from ledger.witness.errors import WitnessInvalid
from ledger.witness.trust import read_logs, read_witnesses
from tests.builders import a_key
from tests.ledger.witness.growing import raw

A, B, OTHER = (log_key(name, raw(a_key(number))) for name, number in [("l.example/a", 1), ("l.example/a", 2), ("o", 3)])
W1, W2 = (cosigner_key(name, raw(a_key(number))) for name, number in [("w.example/1", 4), ("w.example/2", 5)])


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "list"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_policy_of_a_consortium_names_one_log_with_a_key_of_each_member(tmp_path: Path):
    logs = read_logs(written(tmp_path, write_policy([A, B], [W1, W2])))
    assert {name: set(keys) for name, keys in logs.items()} == {"l.example/a": {A, B}}


def test_log_lines_alone_will_do_with_comments_addresses_and_tabs(tmp_path: Path):
    text = f"# ours\n\n log\t{A.encode()}\thttps://l.example/a \nlog {OTHER.encode()}\nlog {A.encode()}\n"
    assert read_logs(written(tmp_path, text)) == {"l.example/a": [A], "o": [OTHER]}


def test_a_tlog_list_may_name_an_origin_that_is_not_the_keys_name(tmp_path: Path):
    text = (
        f"# List: 10qps\nlogs/v0\n\nvkey {A.encode()}\nqpd 86400\ncontact https://l.example/contact\n"
        f"vkey {OTHER.encode()}\norigin something else\n\tqpd 24\n\tcontact sysadmin (at) o.example\n"
    )
    assert read_logs(written(tmp_path, text)) == {"l.example/a": [A], "something else": [OTHER]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "log\n",
        f"log {A.encode()} url more\n",
        f"log {A.encode()[:-4]}\n",
        f"log {W1.encode()}\n",
        f"logs {A.encode()}\n",
        b"\xff\xfe",
        f"logs/v0\nvkey {A.encode()}\nqpd 0\ncontact x\n",
        f"logs/v0\nvkey {A.encode()}\ncontact x\nqpd 1\n",
        f"logs/v0\nvkey {A.encode()}\nqpd 1\n",
        f"logs/v0\nvkey {A.encode()}\nqpd 1\ncontact x\nvkey {B.encode()}\nqpd 1\ncontact x\n",
    ],
)
def test_a_list_of_logs_that_cannot_be_read_is_refused(tmp_path: Path, text: str | bytes):
    with pytest.raises(WitnessInvalid):
        read_logs(written(tmp_path, text))


def test_witnesses_have_a_name_a_key_and_an_address(tmp_path: Path):
    lines = [f"witness one {W1.encode()} https://w.example/1/", f"witness two {W2.encode()} http://127.0.0.1:8460"]
    text = "\n".join([*lines, "quorum none\n"])
    one, two = read_witnesses(written(tmp_path, text))
    assert (one.name, one.key, one.url) == ("one", W1, "https://w.example/1")
    assert two.url == "http://127.0.0.1:8460"


@pytest.mark.parametrize(
    "text",
    [
        f"witness one {W1.encode()}\n",
        f"witness one {A.encode()} https://w.example\n",
        f"witness one {W1.encode()} ftp://w.example\n",
        f"witness one {W1.encode()} https://\n",
        f"witness one {W1.encode()} https://w.example/?a=b\n",
        f"witness one {W1.encode()} https://w.example\nwitness one {W2.encode()} https://w.example\n",
        f"witness one {W1.encode()} https://w.example\nwitness two {W1.encode()} https://w.example\n",
        "witnesses\n",
    ],
)
def test_a_list_of_witnesses_that_cannot_be_used_is_refused(tmp_path: Path, text: str):
    with pytest.raises(WitnessInvalid):
        read_witnesses(written(tmp_path, text))


def test_a_list_that_is_not_there_is_refused_by_its_name(tmp_path: Path):
    with pytest.raises(WitnessInvalid, match="nowhere"):
        read_logs(tmp_path / "nowhere")
