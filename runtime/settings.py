"""Settings: one frozen class per process, which is its reference manual.

Weakest to strongest: the class's defaults, a TOML file, secret files (one value a file), environment, flags of the
command line. A misspelt name is an error at each of these places, never ignored.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from runtime.errors import SettingsError

_SECRET_IN_URL = re.compile(r"(?<=://)([^/@:\s]*):([^/@\s]+)@")
_SHARED = {"database_url": "DATABASE_URL"}


class ProcessSettings(BaseSettings):
    """Base of a process's settings.

        class LedgerSettings(ProcessSettings):
            model_config = SettingsConfigDict(env_prefix="DR_LEDGER_")
            port: int = Field(8440, description="Port of the HTTP interface")

    `LedgerSettings(port=1)` takes the arguments alone; `LedgerSettings.load(...)` reads all sources. A field
    `database_url` may also come from `DATABASE_URL`. `<PREFIX>CONFIG` and `<PREFIX>SECRETS_DIR` name the TOML file and
    the folder of secret files (named like the field) where no flag does.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)
    _places: ClassVar[tuple[str, ...]] = ("CONFIG", "SECRETS_DIR")

    @classmethod
    def load(
        cls,
        *,
        config: Path | None = None,
        secrets_dir: Path | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Self:
        """The settings merged from all sources; a flag that is None was not given. Raises SettingsError."""
        prefix = cls.prefix()
        _refuse_unknown(prefix, [prefix + name for name in (*map(str.upper, cls.model_fields), *cls._places)])
        config = config or _path(f"{prefix}CONFIG")
        secrets_dir = secrets_dir or _path(f"{prefix}SECRETS_DIR")
        merged: dict[str, Any] = {}
        if config is not None:
            merged |= _flattened(_read_toml(config), cls.model_fields)
        if secrets_dir is not None:
            merged |= _read_secrets(cls, secrets_dir)
        merged |= {
            name: os.environ[key] for name, key in _SHARED.items() if name in cls.model_fields and key in os.environ
        }
        try:
            merged |= EnvSettingsSource(cls)()
            merged |= {name: value for name, value in (flags or {}).items() if value is not None}
            return cls(**merged)
        except ValidationError as error:
            raise SettingsError(_explain(prefix, error)) from None
        except ValueError as error:
            raise SettingsError(f"a setting in the environment cannot be read: {error}") from None

    @classmethod
    def prefix(cls) -> str:
        """How the names of its environment variables begin."""
        return str(cls.model_config.get("env_prefix", ""))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments alone: `load` merges the sources, so that their order is written in one place."""
        return (init_settings,)


def render(settings: ProcessSettings) -> str:
    """The merged settings as TOML, one a line, with secrets and passwords in URLs hidden."""
    lines = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        lines.append(f"# {name} is not set" if value is None else f"{name} = {_toml(value)}")
    return "\n".join(lines)


def reference(settings: type[ProcessSettings]) -> str:
    """A Markdown table of every setting: name, environment variable, default, description."""
    rows = ["| setting | environment | default | meaning |", "|---|---|---|---|"]
    for name, field in settings.model_fields.items():
        variable = f"`{settings.prefix()}{name.upper()}`" + (f" or `{_SHARED[name]}`" if name in _SHARED else "")
        default = "required" if field.is_required() else "" if field.default is None else f"`{_toml(field.default)}`"
        rows.append(f"| `{name}` | {variable} | {default} | {field.description or ''} |")
    return "\n".join(rows)


def _toml(value: Any) -> str:
    if isinstance(value, SecretStr):
        return '"**********"'
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(str(key))} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(_SECRET_IN_URL.sub(r"\1:**********@", str(value)), ensure_ascii=False)


def _refuse_unknown(prefix: str, known: list[str]) -> None:
    unknown = sorted(
        name for name in os.environ if prefix and name.upper().startswith(prefix) and name.upper() not in known
    )
    if unknown:
        raise SettingsError(
            "; ".join(f"unknown environment variable {name}{_hint(name.upper(), known)}" for name in unknown)
        )


def _explain(prefix: str, error: ValidationError) -> str:
    """One part per wrong setting, without its value: it may be a secret."""
    parts = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        name = ".".join(map(str, item["loc"]))
        if not name:  # of several settings together: the text names them
            parts.append(item["msg"].removeprefix("Value error, "))
        elif item["type"] == "extra_forbidden":
            parts.append(f"unknown setting {name}")
        elif item["type"] == "missing":
            parts.append(f"setting {name} is missing: give --{name.replace('_', '-')} or {prefix}{name.upper()}")
        else:
            parts.append(f"setting {name}: {item['msg']}")
    return "; ".join(parts)


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error}") from None


def _flattened(values: dict[str, Any], known: Mapping[str, object]) -> dict[str, Any]:
    """`url` in a table `[upstream]` is the setting `upstream_url`; a table that is a setting itself stays whole."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name not in known:
            found |= {f"{name}_{inner}": each for inner, each in value.items()}
        else:
            found[name] = value
    return found


def _read_secrets(cls: type[ProcessSettings], folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise SettingsError(f"there is no folder of secret files {folder}")
    return SecretsSettingsSource(cls, secrets_dir=folder, env_prefix="")()


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None
