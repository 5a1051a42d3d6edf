"""What a witness signs and what it refuses, by the rules of c2sp.org/tlog-witness."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.log.checkpoint import log_key, render_note, sign_checkpoint
from ledger.log.extension import write_extension
from ledger.verify.merkle import EMPTY_ROOT
from ledger.verify.note import VerifierKey, encode_base64, parse_checkpoint
from ledger.witness.cosigner import Cosigner
from ledger.witness.errors import CheckpointRefused, SizeConflict, WitnessExists, WitnessInvalid
from ledger.witness.folder import RECORD_FILE, VKEY_FILE, create, open_witness
from runtime.errors import KeyFileError
from tests.builders import a_key
from tests.ledger.witness.growing import ORIGIN, GrowingLog, raw

NAME = "witness.example/w1"
LOG = GrowingLog()


@dataclass
class Witness:
    """A cosigner over the folder of a witness, with a clock that tests set."""

    folder: Path
    cosigner: Cosigner
    key: VerifierKey
    now_s: int = 1_800_000_000

    def take(self, request: bytes) -> int:
        """The time of the verified cosignature."""
        lines = self.cosigner.add_checkpoint(request)
        note = request.partition(b"\n\n")[2]
        text = parse_checkpoint(note).text
        [line] = parse_checkpoint(text.encode() + b"\n" + lines).signatures
        time_s = self.key.verify(text, line.signature)
        assert time_s is not None
        return time_s

    def refused(self, request: bytes) -> int:
        with pytest.raises(CheckpointRefused) as refusal:
            self.cosigner.add_checkpoint(request)
        return refusal.value.status


def opened(folder: Path, *logs: VerifierKey) -> Witness:
    found = open_witness(folder)
    keys = {key.name: [other for other in logs if other.name == key.name] for key in logs}
    witness = Witness(folder, None, found.key)  # type: ignore[arg-type]
    witness.cosigner = Cosigner(found.key, found.private.sign, keys, found.record, lambda: witness.now_s)
    return witness


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    create(tmp_path / "w", NAME)
    return opened(tmp_path / "w", log_key(ORIGIN, raw(LOG.keys[0])))


def test_a_log_that_grows_is_cosigned_again_and_again(witness: Witness):
    for old, new in [(0, 1), (1, 7), (7, 7), (7, 256), (256, 257), (257, 600)]:
        assert witness.take(LOG.request(old, new)) == witness.now_s


def test_the_empty_tree_is_cosigned_with_its_own_root_alone(witness: Witness):
    other = f"{ORIGIN}\n0\n{encode_base64(LOG.root(1))}\n"
    assert witness.refused(write_extension(0, [], LOG.note(0, other))) == 422
    assert LOG.root(0) == EMPTY_ROOT
    witness.take(write_extension(0, [], LOG.note(0)))
    witness.take(LOG.request(0, 5))


def test_a_log_that_is_not_known_is_not_found_and_a_signature_that_is_not_known_is_forbidden(witness: Witness):
    stranger = GrowingLog(origin="ledger.example/other")
    assert witness.refused(stranger.request(0, 1)) == 404
    assert witness.refused(write_extension(0, [], LOG.note(1, keys=[a_key(62)]))) == 403
    tampered = LOG.note(1).replace(b"\n1\n", b"\n2\n")
    assert witness.refused(write_extension(0, [], tampered)) == 403


@pytest.mark.parametrize(
    "request_body",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        b"old 00\n\n" + LOG.note(1),
        b"old -1\n\n" + LOG.note(1),
        b"Old 0\n\n" + LOG.note(1),
        b"old 0\nAAAA\n\n" + LOG.note(1),
        b"old 0\n" + b"x" * 44 + b"\n\n" + LOG.note(1),
        b"old 9\n\n" + LOG.note(1),
        b"old 0\n\n" + LOG.note(1)[:-3],
        write_extension(0, [bytes(32)] * 64, LOG.note(1)),
        LOG.request(0, 1).replace(ORIGIN.encode() + b"\n1\n", ORIGIN.encode() + b"\n01\n", 1),
    ],
)
def test_what_has_no_form_or_goes_back_is_a_bad_request_or_of_no_log(witness: Witness, request_body: bytes):
    assert witness.refused(request_body) in (400, 404)
    assert witness.cosigner.logs() == {ORIGIN: None}


def test_another_old_size_is_answered_with_the_size_that_was_cosigned(witness: Witness):
    witness.take(LOG.request(0, 9))
    for old in (0, 8, 10):
        with pytest.raises(SizeConflict) as conflict:
            witness.cosigner.add_checkpoint(LOG.request(old, 20))
        assert conflict.value.known == 9


def test_a_tree_that_does_not_extend_the_last_one_is_never_cosigned(witness: Witness):
    witness.take(LOG.request(0, 9))
    fork = GrowingLog("other")
    assert witness.refused(fork.request(9, 20)) == 422
    assert witness.refused(write_extension(9, [], LOG.note(20))) == 422
    assert witness.refused(write_extension(9, LOG.proof(8, 20), LOG.note(20))) == 422
    assert witness.refused(write_extension(9, [bytes(32)], LOG.note(9))) == 422
    with pytest.raises(SizeConflict):
        witness.cosigner.add_checkpoint(fork.request(9, 9))
    witness.take(LOG.request(9, 20))


def test_lines_by_others_are_ignored_and_any_key_of_the_log_will_do(tmp_path: Path):
    first, second, stranger = a_key(61), a_key(62), a_key(63)
    create(tmp_path / "w", NAME)
    witness = opened(tmp_path / "w", log_key(ORIGIN, raw(first)), log_key(ORIGIN, raw(second)))
    witness.take(write_extension(0, [], LOG.note(3, keys=[stranger, second])))
    witness.take(write_extension(3, LOG.proof(3, 4), LOG.note(4, keys=[first, second])))
    wrong = sign_checkpoint(LOG.text(6), log_key(ORIGIN, raw(second)), second.sign)
    right = sign_checkpoint(LOG.text(5), log_key(ORIGIN, raw(first)), first.sign)
    assert witness.refused(write_extension(4, LOG.proof(4, 5), render_note(LOG.text(5), [right, wrong]))) == 403


def test_extension_lines_are_signed_with_the_text(witness: Witness):
    witness.take(write_extension(0, [], LOG.note(3, LOG.text(3) + "something\n")))


def test_a_clock_that_is_set_back_takes_no_statement_back(witness: Witness):
    first = witness.take(LOG.request(0, 3))
    witness.now_s -= 1000
    assert witness.take(LOG.request(3, 4)) == first
    witness.now_s += 2000
    assert witness.take(LOG.request(4, 4)) == first + 1000


def test_requests_at_once_leave_one_history(witness: Witness):
    """Two witness processes on one folder, sixteen threads: at each size one wins, and no size is passed twice."""
    second = opened(witness.folder, log_key(ORIGIN, raw(LOG.keys[0])))
    won: list[tuple[int, int]] = []

    def feed(cosigner: Cosigner, step: int) -> None:
        known = 0
        while known + step <= 120:
            try:
                cosigner.add_checkpoint(LOG.request(known, known + step))
            except SizeConflict as conflict:
                known = conflict.known
            except sqlite3.OperationalError:  # the other process held the lock for long: nothing was signed
                continue
            else:
                won.append((known, known + step))
                known += step

    threads = [
        threading.Thread(target=feed, args=(each.cosigner, 1 + number))
        for number in range(4)
        for each in (witness, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    history = sorted(won)
    assert len(history) > 10
    assert [new for _, new in history[:-1]] == [old for old, _ in history[1:]]


def test_what_was_cosigned_is_remembered_after_kill_9(tmp_path: Path):
    """The process dies at the moment in which its answer leaves: the record is on disk by then."""
    create(tmp_path / "w", NAME)
    program = """
import os, signal, sys
from pathlib import Path
from tests.ledger.witness.test_cosigner import LOG, ORIGIN, log_key, opened, raw
witness = opened(Path(sys.argv[1]), log_key(ORIGIN, raw(LOG.keys[0])))
witness.take(LOG.request(0, 9))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "w")], env=os.environ, timeout=60, check=False
    )
    assert ended.returncode == -9
    witness = opened(tmp_path / "w", log_key(ORIGIN, raw(LOG.keys[0])))
    assert witness.refused(GrowingLog("other").request(0, 9)) == 409
    witness.take(LOG.request(9, 10))


def test_no_signature_that_ever_left_is_above_the_record_when_the_process_is_killed_at_work(tmp_path: Path):
    """A process cosigns as fast as it can and says each size after its signature; whenever it is killed, the record
    holds that size or a later one, and the witness goes on from there."""
    create(tmp_path / "w", NAME)
    program = """
import sys
from pathlib import Path
from tests.ledger.witness.test_cosigner import LOG, ORIGIN, log_key, opened, raw
witness = opened(Path(sys.argv[1]), log_key(ORIGIN, raw(LOG.keys[0])))
last = witness.cosigner.logs()[ORIGIN]
known = 0 if last is None else last.size
while known < 599:
    witness.take(LOG.request(known, known + 1))
    known += 1
    print(known, flush=True)
"""
    key, size = log_key(ORIGIN, raw(LOG.keys[0])), 0
    for lines in (1, 7, 20):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "w")], env=os.environ, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(lines):
                said = int(process.stdout.readline())
            process.kill()
            said = max([said, *(int(line) for line in process.stdout.read().split("\n")[:-1])])
        witness = opened(tmp_path / "w", key)
        last = witness.cosigner.logs()[ORIGIN]
        assert last is not None
        assert last.size >= said > size
        assert last.root == LOG.root(last.size)
        size = last.size
        assert witness.refused(GrowingLog("other").request(size, size + 9)) == 422


def test_whatever_two_trees_bring_in_whatever_order_one_of_them_alone_is_cosigned(witness: Witness):
    rng = random.Random(7)
    trees = {word: GrowingLog(word) for word in ("entry", "other")}
    signed: list[tuple[int, bytes]] = []
    for _ in range(300):
        old, new = sorted((rng.randrange(60), rng.randrange(60)))
        known = witness.cosigner.logs()[ORIGIN]
        if rng.random() < 0.7 and known is not None:
            old, new = known.size, known.size + rng.randrange(3)
        tree, prover = rng.choice([*trees.values()]), rng.choice([*trees.values()])
        with contextlib.suppress(CheckpointRefused):
            witness.cosigner.add_checkpoint(write_extension(old, prover.proof(old, new), tree.note(new)))
            signed.append((new, tree.root(new)))
    assert len(signed) > 20
    assert signed == sorted(signed, key=lambda each: each[0])
    roots = [{(size, tree.root(size)) for size, _ in signed} for tree in trees.values()]
    assert any({each for each in signed if each[0]} <= each_tree for each_tree in roots)


def test_a_witness_is_made_once(tmp_path: Path):
    key = create(tmp_path, NAME)
    assert (tmp_path / VKEY_FILE).read_text() == key.encode() + "\n"
    with pytest.raises(WitnessExists):
        create(tmp_path, NAME)
    with pytest.raises(WitnessInvalid):
        create(tmp_path / "other", "two words")
    assert not (tmp_path / "other").exists()


def test_without_its_record_or_with_another_one_a_key_signs_no_more(tmp_path: Path):
    create(tmp_path / "a", NAME)
    create(tmp_path / "b", NAME)
    (tmp_path / "a" / RECORD_FILE).replace(tmp_path / "kept")
    with pytest.raises(WitnessInvalid, match="must not sign any more"):
        open_witness(tmp_path / "a")
    (tmp_path / "b" / RECORD_FILE).replace(tmp_path / "a" / RECORD_FILE)
    with pytest.raises(WitnessInvalid, match="another key"):
        open_witness(tmp_path / "a")
    (tmp_path / "a" / RECORD_FILE).write_bytes(b"SQLite format 3\0" + bytes(4096))
    with pytest.raises(WitnessInvalid, match="cannot be read"):
        open_witness(tmp_path / "a")
    (tmp_path / "kept").replace(tmp_path / "a" / RECORD_FILE)
    open_witness(tmp_path / "a").record.close()
    (tmp_path / "a" / "witness.key").unlink()
    with pytest.raises(KeyFileError):
        open_witness(tmp_path / "a")
    with pytest.raises(WitnessInvalid, match="witness create"):
        open_witness(tmp_path / "nowhere")
