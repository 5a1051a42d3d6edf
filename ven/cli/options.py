"""What the commands of `dr-ven` share: options, settings, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.logs import configure
from runtime.output import print_whole
from ven.config import VenSettings

Config = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the home.")]
Profile = Annotated[Path | None, typer.Option("--profile", help="Profile file of the simulated home.")]
Device = Annotated[str | None, typer.Option("--device", help="profile, relay or dimmer.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def load_settings(
    config: Path | None, data_dir: Path | None, secrets_dir: Path | None = None, **flags: Any
) -> VenSettings:
    """The settings of this call; logging follows them. Raises SettingsError."""
    settings = VenSettings.load(config=config, secrets_dir=secrets_dir, flags={"data_dir": data_dir, **flags})
    configure("dr-ven", json=settings.log_json, level=settings.log_level)
    return settings


def print_json(value: Any) -> None:
    """JSON on standard output, whole or an error."""
    print_whole(json.dumps(value, indent=2, ensure_ascii=False))
