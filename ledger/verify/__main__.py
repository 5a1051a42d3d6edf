"""`python -m ledger.verify BUNDLE --policy policy.txt`: checks a bundle offline. Exit code 0 proved, 1 not, 2 usage."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from .bundle import VerifiedBundle, verify_bundle
from .errors import VerificationError


def main() -> int:
    """Reads the two files and says what they prove, or why they prove nothing."""
    parser = argparse.ArgumentParser(prog="python -m ledger.verify", description="Check evidence from a ledger.")
    parser.add_argument("bundle", type=Path, help="file made by `dr-ledger export`")
    parser.add_argument("--policy", type=Path, required=True, help="whose signatures count, from somebody you believe")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    given = parser.parse_args()
    try:
        proved = verify_bundle(given.bundle.read_bytes(), given.policy.read_bytes())
    except VerificationError as error:
        print(f"{given.bundle} proves nothing: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"a file cannot be read: {error}", file=sys.stderr)
        return 2
    try:
        _say(json.dumps(asdict(proved), ensure_ascii=False, indent=2) if given.json else "\n".join(_lines(proved)))
    except OSError as error:
        print(f"the answer could not be written to its end: {error}", file=sys.stderr)
        return 2
    return 0


def _say(text: str) -> None:
    """All of it: an unbuffered stdout would forget what a slow reader's pipe did not take at once."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # a test's or an embedding program's own stream
        print(text)
        return
    sys.stdout.flush()
    with open(descriptor, "w", encoding="utf-8", closefd=False) as whole:
        whole.write(text + "\n")


def _lines(proved: VerifiedBundle) -> list[str]:
    scope = proved.scope
    about = f"of {scope.contract}" if scope.contract else f"from {_time(scope.from_ms)} to {_time(scope.to_ms)}"
    signers = ", ".join(proved.cosigned_by) or "nobody: the policy asks for no cosignature"
    lines = [
        f"proved: {len(proved.facts)} facts {about}" + (f" that concern {scope.party}" if scope.party else ""),
        f"log {proved.origin}, size {proved.size}, cosigned by {signers}",
    ]
    for each in proved.facts:
        words = " ".join(f"{name}={_short(value)}" for name, value in each.fact.items() if name != "fact")
        lines.append(
            f"{_time(each.time_ms)}  block {each.height}  entry {each.index}  {each.fact.get('fact')}  {words}"
        )
    return lines


def _time(time_ms: int | None) -> str:
    try:
        return datetime.fromtimestamp((time_ms or 0) / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: UP017
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"


def _short(value: object) -> str:
    return "{...}" if isinstance(value, dict) else f"[{len(value)}]" if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.exit(main())
