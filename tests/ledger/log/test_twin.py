"""The browser twin (verify.mjs, run in Node) gives the verdicts of ledger.verify, value for value and code for code."""

from __future__ import annotations

import inspect
import json
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ledger.verify import errors
from tests.ledger.log import vectors

NODE = shutil.which("node")
HERE = Path(__file__).parent
RUNNER = HERE / "verdicts.mjs"
MODULE = HERE.parents[2] / "ledger" / "verify" / "verify.mjs"
#: bundles of entries are read by monitors, exports by `python -m ledger.verify`
_NOT_OF_THE_TWIN = {
    "bundle_altered",
    "bundle_malformed",
    "container_malformed",
    "manifest_malformed",
    "policy_differs",
    "scope_mismatch",
}
needs_node = pytest.mark.skipif(NODE is None, reason="Node is not on PATH: the browser twin is not run")


def test_the_vector_file_is_what_the_verifier_says_today() -> None:
    assert vectors.FILE.read_text() == vectors.render(vectors.document()), "run python -m tests.ledger.log.vectors"


def test_the_vectors_show_every_error_code_and_hundreds_of_changed_files() -> None:
    cases = json.loads(vectors.FILE.read_text())["cases"]
    codes = [case["expect"].get("code") for case in cases]
    documented = set(re.findall(r"^(\w+) {2,}", inspect.getdoc(errors.VerificationError) or "", re.MULTILINE))
    assert documented - set(codes) == _NOT_OF_THE_TWIN
    assert len(cases) > 1_000
    assert codes.count(None) > 50


@needs_node
def test_the_twin_gives_the_same_verdict_on_every_vector() -> None:
    document = json.loads(vectors.FILE.read_text())
    assert_same(document, twin(vectors.FILE))


@needs_node
def test_the_twin_gives_the_same_verdicts_where_a_browser_has_no_ed25519(tmp_path: Path) -> None:
    document = json.loads(vectors.FILE.read_text())
    crafted = [case for case in document["cases"] if str(case["files"].get("note", "")).startswith("note ")]
    assert len(crafted) == 10
    document["cases"] = crafted + document["cases"][: len(vectors.SOUND)]
    file = tmp_path / "some.json"
    file.write_text(json.dumps(document))
    assert_same(document, twin(file, "computed"))


@needs_node
def test_the_twin_agrees_on_files_changed_at_random(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)

    def calls() -> Any:
        for _ in range(400):
            call, given, options = rng.choice(vectors.SOUND)
            parameter = rng.choice(list(given))
            name = given[parameter]
            assert isinstance(name, str)
            changed = rng.choice(list(vectors.changes(name, rng, 1)))
            yield call, given | {parameter: changed}, options

    document = vectors.judged(calls())
    file = tmp_path / "random.json"
    file.write_text(vectors.render(document))
    assert_same(document, twin(file), f"seed {seed}")


def test_the_module_is_one_file_without_dependencies() -> None:
    text = MODULE.read_text()
    assert "\nimport " not in text.replace("//   import", "")
    assert "require(" not in text
    assert "import(" not in text
    assert "node:" not in text


def twin(file: Path, *options: str) -> list[dict[str, Any]]:
    assert NODE is not None
    done = subprocess.run([NODE, RUNNER, file, *options], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def assert_same(document: dict[str, Any], verdicts: list[dict[str, Any]], hint: str = "") -> None:
    assert len(verdicts) == len(document["cases"])
    for case, verdict in zip(document["cases"], verdicts, strict=True):
        assert "crash" not in verdict, (hint, case, verdict)
        assert vectors.hashed(verdict) == case["expect"], (hint, case, verdict)
