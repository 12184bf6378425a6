"""Settings: from the environment and the home's file, and one clear line when something is wrong."""

import os
from pathlib import Path

import pytest

from storage_core.domain.permission import Role
from storage_core.settings import Settings, SettingsError, prepare_home


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("STORAGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STORAGE_HOME", str(tmp_path))


def test_defaults_live_below_the_home(tmp_path: Path) -> None:
    settings = Settings.load()
    assert settings.home == tmp_path
    assert settings.catalog == settings.jobs == f"sqlite:///{tmp_path}/catalog.sqlite3"
    assert settings.artifacts == f"file://{tmp_path}/store"
    assert settings.address == "http://127.0.0.1:8080"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.toml").write_text('port = 9000\nlog_level = "DEBUG"\n')
    monkeypatch.setenv("STORAGE_PORT", "9001")
    settings = Settings.load()
    assert (settings.port, settings.log_level) == (9001, "DEBUG")


def test_what_is_passed_in_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_PORT", "9001")
    assert Settings(home=tmp_path / "x", port=9002).port == 9002


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "CATALOG_URL", "MASTER_KEY", "ADMIN_PASSWORD", "HOST"):
        monkeypatch.setenv(f"STORAGE_{name}", "")
    settings = Settings.load()
    assert (settings.port, settings.catalog_url, settings.admin_password) == (8080, None, None)


def test_a_relative_home_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORAGE_HOME", "here")
    assert Settings.load().home == tmp_path / "here"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STORAGE_PROT", "1"),
        ("STORAGE_PORT", "none"),
        ("STORAGE_PORT", "0"),
        ("STORAGE_PORT", "65536"),
        ("STORAGE_LOG_LEVEL", "LOUD"),
        ("STORAGE_DIAGNOSTICS", "perhaps"),
        ("STORAGE_CATALOG_URL", "mysql://h/d"),
        ("STORAGE_JOBS_URL", "redis://h"),
        ("STORAGE_ARTIFACTS_URL", "ftp://h"),
        ("STORAGE_MASTER_KEY", "5ec4e7"),
        ("STORAGE_MASTER_KEY", "z" * 64),
    ],
)
def test_an_unknown_or_malformed_variable_is_one_line_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    message = str(caught.value)
    assert message.startswith(name)
    assert "\n" not in message
    if "KEY" in name:
        assert value not in message


@pytest.mark.parametrize("text", ["colour = 1", "port = ", 'home = "/elsewhere"'])
def test_a_wrong_file_is_one_line_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"settings\.toml") as caught:
        Settings.load()
    assert "\n" not in str(caught.value)


def test_the_command_lines_own_variables_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("STORAGE_TOKEN", "sct_x")
    Settings.load()


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_ADMIN_PASSWORD", "hunter2hunter2")
    monkeypatch.setenv("STORAGE_MASTER_KEY", "ab" * 32)
    shown = repr(Settings.load())
    assert "hunter2" not in shown
    assert "abab" not in shown


def test_the_home_is_its_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    prepare_home(Settings(home=home))
    assert home.stat().st_mode & 0o777 == 0o700
    home.chmod(0o755)
    prepare_home(Settings(home=home))
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="STORAGE_HOME"):
        prepare_home(Settings(home=tmp_path / "file" / "home"))


OIDC = {"ISSUER": "https://id.example.com/staff", "CLIENT_ID": "console"}


def test_an_identity_provider_and_its_groups_come_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "settings.toml").write_text(
        'oidc_issuer = "https://id.example.com"\noidc_client_id = "console"\n'
        f'oidc_client_secret_file = "{tmp_path}/secret"\noidc_default_role = "Viewer"\n'
        '[oidc_roles]\nplatform = "Admin"\nacme = ["Operator tenant:acme", "Viewer"]\n'
    )
    settings = Settings.load()
    assert settings.oidc_roles == {"platform": "Admin", "acme": ("Operator tenant:acme", "Viewer")}
    assert settings.oidc_secret() == "hush"
    monkeypatch.setenv("STORAGE_OIDC_ROLES", '{"staff": "Viewer global"}')
    assert Settings.load().oidc_roles == {"staff": "Viewer global"}


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"ISSUER": "http://id.example.com"}, "STORAGE_OIDC_ISSUER"),
        ({"ISSUER": "https://id.example.com/?x=1"}, "STORAGE_OIDC_ISSUER"),
        ({"ISSUER": "javascript:alert(1)"}, "STORAGE_OIDC_ISSUER"),
        ({"CLIENT_ID": ""}, "STORAGE_OIDC_CLIENT_ID"),
        ({"SCOPES": "profile"}, "STORAGE_OIDC_SCOPES"),
        ({"DEFAULT_ROLE": "King"}, "STORAGE_OIDC_DEFAULT_ROLE"),
        ({"ROLES": '{"x": "Admin everywhere"}'}, "STORAGE_OIDC_ROLES"),
        ({"ROLES": '{"x": ["Viewer", "Admin tenant:"]}'}, "STORAGE_OIDC_ROLES"),
    ],
    ids=str,
)
def test_a_wrong_identity_provider_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    for name, value in {**OIDC, **variables}.items():
        monkeypatch.setenv(f"STORAGE_OIDC_{name}", value)
    with pytest.raises(SettingsError, match=named):
        Settings.load()


def test_behind_a_proxy_the_provider_must_know_where_to_send_people_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STORAGE_HOST", "0.0.0.0")
    for name, value in OIDC.items():
        monkeypatch.setenv(f"STORAGE_OIDC_{name}", value)
    with pytest.raises(SettingsError, match="STORAGE_PUBLIC_URL"):
        Settings.load()


def test_every_role_can_be_given_by_a_group() -> None:
    for role in Role:
        given = {"oidc_issuer": OIDC["ISSUER"], "oidc_client_id": "c", "oidc_default_role": role.value}
        assert Settings(**given).oidc_default_role == role.value
