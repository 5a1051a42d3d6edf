"""What a reader is told is what the programs do."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.reference import PATH, PROCESSES, commands, parameters, render_reference, settings_classes

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*/DESIGN.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(path.read_text() for path in PAGES)
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()

each_process = pytest.mark.parametrize(("script", "package"), PROCESSES.items())


def test_the_reference_is_what_the_programs_say_today():
    assert PATH.read_text() == render_reference(), "run `make fix`"


def test_every_program_is_in_the_reference_and_the_readme():
    assert PROJECT["scripts"].keys() == PROCESSES.keys()
    assert [script for script in PROCESSES if f"`{script}" not in README] == []


@each_process
def test_every_command_and_parameter_explains_itself(script, package):
    silent = [path for path, command in commands(script, package) if not command.help]
    silent += [
        f"{path} {names}"
        for path, command in commands(script, package)
        for names, text in parameters(command)
        if not text and names.startswith("-")
    ]
    assert silent == []


@each_process
def test_every_setting_explains_itself(script, package):
    silent = [
        f"{settings.__name__}.{name}"
        for settings in settings_classes(package)
        for name, field in settings.model_fields.items()
        if not field.description
    ]
    assert silent == []


@each_process
def test_a_command_the_text_mentions_exists(script, package):
    """`dr-vtn events show` in a page must name commands, not words that once were commands."""
    known = {path for path, _ in commands(script, package)}
    groups = {path for path, command in commands(script, package) if getattr(command, "commands", None)}
    unknown = []
    for line in re.findall(rf"`({script}[^`]*)`", TEXT):
        path = script
        for word in line.split()[1:]:
            if path not in groups or not re.fullmatch(r"[a-z][a-z-]*", word):
                break
            path = f"{path} {word}"
            if path not in known:
                unknown.append(line)
                break
    assert unknown == []


def test_a_make_target_the_text_mentions_exists():
    targets = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
    assert {"demo", "demo-delta", "test", "lint", "fix", "bench", "bench-ledger", "bench-faults"} <= targets
    assert set(re.findall(r"`make ([a-z0-9-]+)[^`]*`", TEXT)) <= targets


def test_a_file_the_text_links_to_exists():
    missing = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert missing == []


def test_the_changelog_knows_the_version_or_is_unreleased():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{PROJECT['version']}]" in changelog


def test_every_dependency_is_pinned_once_and_without_an_address():
    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)] == []
    pinned = [normal(line.split("==")[0]) for line in lines]
    assert len(pinned) == len(set(pinned))
    asked = [*PROJECT["dependencies"], *(item for extra in PROJECT["optional-dependencies"].values() for item in extra)]
    names = {normal(re.match(r"[A-Za-z0-9._-]+", item).group()) for item in asked}  # type: ignore[union-attr]
    assert names - set(pinned) == set()
