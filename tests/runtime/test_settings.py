"""Settings come from five places in a fixed order, and a misspelt one is never ignored."""

from pathlib import Path
from typing import Self

import pytest
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import SettingsConfigDict

from runtime.errors import SettingsError
from runtime.settings import ProcessSettings, reference, render


class SampleSettings(ProcessSettings):
    """Settings of a process that exists in this test only."""

    model_config = SettingsConfigDict(env_prefix="DR_SAMPLE_")

    port: int = Field(8000, description="Port of the HTTP interface")
    host: str = Field("127.0.0.1", description="Address it listens on")
    data_dir: Path = Field(Path("var"), description="Where data is kept")
    token: SecretStr | None = Field(None, description="Token of the broker")
    database_url: str | None = Field(None, description="A PostgreSQL of your own")
    limits_w: tuple[int, ...] = Field((), description="Largest powers")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return monkeypatch


def test_each_place_beats_the_ones_before(tmp_path, environment):
    config, secrets = tmp_path / "sample.toml", tmp_path / "secrets"
    secrets.mkdir()

    def port(**flags: int) -> int:
        return SampleSettings.load(config=config, secrets_dir=secrets, flags=flags).port

    config.touch()
    assert port() == 8000
    config.write_text("port = 1")
    assert port() == 1
    (secrets / "port").write_text("2\n")
    assert port() == 2
    environment.setenv("DR_SAMPLE_PORT", "3")
    assert port() == 3
    assert port(port=4) == 4


def test_a_flag_that_was_not_given_changes_nothing(environment):
    environment.setenv("DR_SAMPLE_PORT", "3")
    assert SampleSettings.load(flags={"port": None}).port == 3


def test_the_environment_can_name_the_file_and_the_folder(tmp_path, environment):
    (tmp_path / "sample.toml").write_text('host = "::1"')
    (tmp_path / "token").write_text("hunter2")
    environment.setenv("DR_SAMPLE_CONFIG", str(tmp_path / "sample.toml"))
    environment.setenv("DR_SAMPLE_SECRETS_DIR", str(tmp_path))
    settings = SampleSettings.load()
    assert settings.host == "::1"
    assert settings.token == SecretStr("hunter2")


def test_a_misspelt_environment_variable_is_named_with_the_likely_one(environment):
    environment.setenv("DR_SAMPLE_PROT", "3")
    with pytest.raises(SettingsError, match=r"variable DR_SAMPLE_PROT \(did you mean DR_SAMPLE_PORT\?\)"):
        SampleSettings.load()


def test_variables_of_other_processes_are_none_of_ours(environment):
    environment.setenv("DR_OTHER_PORT", "3")
    assert SampleSettings.load().port == 8000


def test_every_wrong_setting_is_named_at_once_without_its_value(tmp_path):
    config = tmp_path / "sample.toml"
    config.write_text('port = "hunter2"\nlimits_w = 1\nprot = 1')
    with pytest.raises(SettingsError) as caught:
        SampleSettings.load(config=config)
    message = str(caught.value)
    assert all(part in message for part in ("setting port:", "setting limits_w:", "unknown setting prot"))
    assert "hunter2" not in message


def test_settings_that_do_not_fit_together_are_told_in_words_alone():
    class Paired(ProcessSettings):
        model_config = SettingsConfigDict(env_prefix="DR_PAIRED_")
        low: int = 2
        high: int = 1

        @model_validator(mode="after")
        def _in_order(self) -> Self:
            if self.low > self.high:
                raise ValueError("low is above high: exchange them")
            return self

    with pytest.raises(SettingsError, match=r"^low is above high: exchange them$"):
        Paired.load()


def test_a_missing_setting_names_flag_and_variable():
    class Demanding(ProcessSettings):
        model_config = SettingsConfigDict(env_prefix="DR_DEMANDING_")
        ledger_url: str

    with pytest.raises(SettingsError, match="give --ledger-url or DR_DEMANDING_LEDGER_URL"):
        Demanding.load()


@pytest.mark.parametrize("text", ["port = ", None])
def test_a_settings_file_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "sample.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=r"sample\.toml cannot be read"):
        SampleSettings.load(config=path)


def test_a_list_in_the_environment_that_is_no_list_is_named(environment):
    environment.setenv("DR_SAMPLE_LIMITS_W", "[1, 2")
    with pytest.raises(SettingsError, match="limits_w"):
        SampleSettings.load()
    environment.setenv("DR_SAMPLE_LIMITS_W", "[1, 2]")
    assert SampleSettings.load().limits_w == (1, 2)


def test_the_database_url_may_come_under_its_common_name(environment):
    environment.setenv("DATABASE_URL", "postgresql://db/one")
    assert SampleSettings.load().database_url == "postgresql://db/one"
    environment.setenv("DR_SAMPLE_DATABASE_URL", "postgresql://db/two")
    assert SampleSettings.load().database_url == "postgresql://db/two"


def test_arguments_alone_count_when_the_class_is_called(environment):
    environment.setenv("DR_SAMPLE_PORT", "3")
    assert SampleSettings(host="::1").port == 8000


def test_settings_do_not_change_while_a_process_runs():
    with pytest.raises(ValidationError, match="frozen"):
        SampleSettings().port = 1


def test_the_rendered_settings_hide_secrets_and_passwords():
    settings = SampleSettings(
        token=SecretStr("hunter2"), database_url="postgresql://gridpact:hunter3@db/one", limits_w=(1, 2)
    )
    assert render(settings).splitlines() == [
        "port = 8000",
        'host = "127.0.0.1"',
        'data_dir = "var"',
        'token = "**********"',
        'database_url = "postgresql://gridpact:**********@db/one"',
        "limits_w = [1, 2]",
    ]


def test_a_setting_without_value_is_rendered_as_not_set():
    assert "# token is not set" in render(SampleSettings())


def test_the_reference_names_variable_default_and_meaning():
    table = reference(SampleSettings)
    assert "| `port` | `DR_SAMPLE_PORT` | `8000` | Port of the HTTP interface |" in table
    assert "`DR_SAMPLE_DATABASE_URL` or `DATABASE_URL`" in table


def test_a_table_of_the_file_is_the_prefix_of_its_settings(tmp_path):
    class Prefixed(ProcessSettings):
        upstream_url: str = Field("", description="x")

    file = tmp_path / "settings.toml"
    file.write_text('[upstream]\nurl = "http://a"\n')
    assert Prefixed.load(config=file).upstream_url == "http://a"
    file.write_text('[upstream]\nurrl = "http://a"\n')
    with pytest.raises(SettingsError, match="unknown setting upstream_urrl"):
        Prefixed.load(config=file)
