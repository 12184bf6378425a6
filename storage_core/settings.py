"""Settings: the environment and the home's settings file, read once, frozen."""

import os
import tomllib
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from platformdirs import user_data_path
from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "STORAGE_"
#: Read by the command line itself, to reach a server instead of the local home.
CLIENT_VARIABLES = frozenset({"STORAGE_URL", "STORAGE_TOKEN"})
#: Folders of the home that are the console's alone.
OWN_FOLDERS = ("audit", "desktop", "logs", "run", "servers", "store")


#: `Operator`, or with its scope: `Operator tenant:acme`.
OidcRole = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        pattern=r"^(SuperAdmin|Admin|Operator|Viewer)( (global|(tenant|provider):\S{1,100}))?$",
    ),
]


class SettingsError(Exception):
    """A value that stops the start; the message is one line for people."""


class Settings(BaseSettings):
    """Everything that can be configured, with its default. Names are the environment's without the prefix."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,  # compose files and units leave variables empty to say "not set"
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    home: Path = Field(default_factory=lambda: user_data_path("storage-console"))
    """Where the catalog, keys, artifacts and private servers live."""
    host: str = Field("127.0.0.1", min_length=1)
    """The address it listens on."""
    port: int = Field(8080, ge=1, le=65535)
    """The port it listens on."""
    public_url: str | None = None
    """The address people use, when a proxy stands in front."""
    allowed_hosts: str = ""
    """Host names the console answers to besides its own, separated by commas."""
    trusted_proxies: str = ""
    """Addresses of proxies whose forwarding headers count, separated by commas."""
    pg_bin: Path | None = None
    """The folder of pg_dump and pg_restore."""
    catalog_url: str | None = None
    """Where the catalog lies, `sqlite://…` or `postgresql://…`; a file in the home, unless set."""
    jobs_url: str | None = None
    """Where jobs are queued; the catalog's own database, unless set."""
    redis_url: str | None = None
    """A Redis server that several web processes share."""
    artifacts_url: str | None = None
    """Where backups are stored, `file://…` or `s3://…`; a folder in the home, unless set."""
    audit_heads_url: str | None = None
    """Where the audit's signed heads are kept, outside the catalog: file://, s3://, or a web hook that is told."""
    master_key: SecretStr | None = None
    """The key that opens every other key, as 64 hexadecimal digits."""
    master_key_file: Path | None = None
    """The file the master key is read from; one in the home, unless set."""
    master_key_source: Literal["auto", "environment", "file", "keyring"] = "auto"
    """Where the master key is: auto takes the environment's if it is there, else a file; or the system keyring."""
    master_key_previous: SecretStr | None = None
    """The key in use before, while the one in its place is being rotated in; 64 hexadecimal digits."""
    admin_password: SecretStr | None = None
    """On the first start: makes the user `admin` with this password, instead of a setup link."""
    jwt_issuer: str | None = None
    """Who signs tokens of another identity provider that REST accepts: the `iss` claim."""
    jwt_audience: str | None = None
    """The `aud` claim such a token must have."""
    jwt_jwks: str | None = None
    """The issuer's public keys as JWKS; left out, they are fetched from the issuer."""
    jwt_jwks_file: Path | None = None
    """The same keys, from a file."""
    jwt_tenant_claim: str = Field("tenant", min_length=1)
    """The claim that names the tenant."""
    jwt_role_claim: str = Field("role", min_length=1)
    """The claim that names the role."""
    oidc_issuer: str | None = None
    """The identity provider people may sign in with, exactly as it names itself."""
    oidc_client_id: str | None = None
    """How the console is known to it."""
    oidc_client_secret: SecretStr | None = None
    """The secret it gave the console; none for a public client."""
    oidc_client_secret_file: Path | None = None
    """The same secret, from a file."""
    oidc_name: str = "OpenID Connect"
    """What the button says after "Sign in with"."""
    oidc_scopes: str = "openid profile email"
    """What is asked of it, separated by blanks."""
    oidc_username_claim: str = "preferred_username"
    """The claim a new user is named by."""
    oidc_groups_claim: str = "groups"
    """The claim with the groups people are in."""
    oidc_roles: dict[str, OidcRole | tuple[OidcRole, ...]] = {}
    """Groups of the provider and the roles they give: ``{"ops": ["Operator tenant:acme"]}``."""
    oidc_default_role: OidcRole | None = None
    """The role of whoever holds none otherwise; without it they wait until somebody gives them one."""
    oidc_sign_out: Literal["provider", "console"] = "provider"
    """Where signing out of the console ends the session of whoever signed in there: at the provider too, or only here."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """What is logged at least."""
    diagnostics: bool = False
    """Logs a trace of every operation."""

    _in_file: frozenset[str] = PrivateAttr(default=frozenset())

    @field_validator("master_key", "master_key_previous")
    @classmethod
    def _hex(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                right = len(bytes.fromhex(value.get_secret_value())) == 32
            except ValueError:
                right = False
            if not right:
                raise ValueError("must be 64 hexadecimal digits")
        return value

    @field_validator("catalog_url", "jobs_url")
    @classmethod
    def _database(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in {"sqlite", "postgresql"}:
            raise ValueError("must begin with sqlite:// or postgresql://")
        return value

    @field_validator("artifacts_url")
    @classmethod
    def _store(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in {"file", "s3"}:
            raise ValueError("must begin with file:// or s3://")
        return value

    @field_validator("audit_heads_url")
    @classmethod
    def _witness(cls, value: str | None) -> str | None:
        if value is None:
            return value
        parts = urlsplit(value)
        named = parts.path if parts.scheme == "file" else parts.hostname
        if (parts.scheme not in {"file", "s3"} and not _sealed_or_here(parts)) or not named:
            raise ValueError(
                "must begin with file://, s3:// or https:// (http:// only for a web hook on this machine)"
            )
        return value

    @model_validator(mode="after")
    def _whole_issuer(self) -> Self:
        if self.jwt_issuer is None and (self.jwt_audience or self.jwt_jwks or self.jwt_jwks_file):
            raise ValueError("STORAGE_JWT_ISSUER is missing beside the other STORAGE_JWT settings")
        if self.jwt_issuer is not None and not self.jwt_audience:
            raise ValueError("STORAGE_JWT_ISSUER needs STORAGE_JWT_AUDIENCE")
        if self.jwt_issuer is not None and urlsplit(self.jwt_issuer).scheme not in ("https", "http"):
            raise ValueError("STORAGE_JWT_ISSUER must be an https address")
        return self

    @model_validator(mode="after")
    def _one_master_key(self) -> Self:
        if self.master_key_source == "environment" and self.master_key is None:
            raise ValueError("STORAGE_MASTER_KEY_SOURCE is environment, and STORAGE_MASTER_KEY is not set")
        if self.master_key_source in ("file", "keyring") and self.master_key is not None:
            raise ValueError(
                f"STORAGE_MASTER_KEY is set, and STORAGE_MASTER_KEY_SOURCE is {self.master_key_source}"
            )
        if self.master_key_source == "keyring" and self.master_key_file is not None:
            raise ValueError("STORAGE_MASTER_KEY_FILE is set, and STORAGE_MASTER_KEY_SOURCE is keyring")
        return self

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer(cls, value: str | None) -> str | None:
        split = urlsplit(value or "https://none")
        if not split.hostname or not _sealed_or_here(split):
            raise ValueError("must begin with https:// (http:// only for a provider on this machine)")
        if split.query or split.fragment:
            raise ValueError("must have neither query nor fragment")
        return value

    @model_validator(mode="after")
    def _oidc(self) -> Self:
        if self.oidc_issuer is None:
            return self
        if self.oidc_client_id is None:
            raise ValueError("STORAGE_OIDC_ISSUER needs STORAGE_OIDC_CLIENT_ID")
        if not self.is_local and self.public_url is None:
            raise ValueError(
                "STORAGE_OIDC_ISSUER needs STORAGE_PUBLIC_URL: the provider sends people back to it"
            )
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("STORAGE_OIDC_SCOPES must contain openid")
        return self

    @classmethod
    def load(cls) -> Self:
        """Read the environment and ``settings.toml`` in the home; SettingsError names what is wrong."""
        known = {PREFIX + name.upper() for name in cls.model_fields} | CLIENT_VARIABLES
        unknown = sorted(k for k in os.environ if k.startswith(PREFIX) and k not in known)
        if unknown:
            raise SettingsError(f"{unknown[0]} is not a setting. Known: {', '.join(sorted(known))}.")
        home = Path(os.environ.get("STORAGE_HOME") or user_data_path("storage-console"))
        # What is passed in wins over the environment, so of the file only what the environment does not say.
        values = _file_values(home / "settings.toml")
        values = {n: v for n, v in values.items() if not os.environ.get(PREFIX + n.upper())}
        try:
            settings = cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(p) for p in first["loc"])
            message = str(first["msg"]).removeprefix("Value error, ")
            raise SettingsError(f"{PREFIX}{name.upper()}: {message}." if name else f"{message}.") from None
        if not settings.home.is_absolute():
            settings = settings.model_copy(update={"home": settings.home.absolute()})
        settings._in_file = frozenset(values)
        return settings

    def source(self, name: str) -> str:
        """Where a setting's value comes from: environment, file or default."""
        if name in self._in_file:
            return "file"
        return "environment" if name in self.model_fields_set else "default"

    @cached_property
    def catalog(self) -> str:
        """The catalog's address: SQLite below the home unless set."""
        return self.catalog_url or f"sqlite:///{self.home / 'catalog.sqlite3'}"

    @cached_property
    def jobs(self) -> str:
        """The job store's address; the catalog's own database unless set, so that row and job commit together."""
        return self.jobs_url or self.catalog

    @cached_property
    def artifacts(self) -> str:
        return self.artifacts_url or f"file://{self.home / 'store'}"

    @cached_property
    def is_local(self) -> bool:
        """Whether the console serves this machine alone: whoever reaches it could reach its servers anyway."""
        try:
            loopback = ip_address(self.host).is_loopback
        except ValueError:
            loopback = self.host == "localhost"
        return loopback and not self.public_url and not self.trusted_proxies.strip()

    def oidc_secret(self) -> str | None:
        """The client's secret, from the environment or its file; none for a public client."""
        if self.oidc_client_secret is not None or self.oidc_client_secret_file is None:
            return self.oidc_client_secret.get_secret_value() if self.oidc_client_secret else None
        try:
            return self.oidc_client_secret_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise SettingsError("STORAGE_OIDC_CLIENT_SECRET_FILE cannot be read.") from None

    @cached_property
    def audit_heads(self) -> str:
        return self.audit_heads_url or f"file://{self.home / 'audit' / 'heads.jsonl'}"

    @cached_property
    def address(self) -> str:
        return self.public_url or f"http://{self.host}:{self.port}"


def _sealed_or_here(parts: SplitResult) -> bool:
    """Whether nobody on the way can read or change what goes to this web address."""
    here = parts.hostname in ("127.0.0.1", "::1", "localhost")
    return parts.scheme == "https" or (parts.scheme == "http" and here)


def _file_values(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}.") from None
    unknown = sorted(values.keys() - (Settings.model_fields.keys() - {"home"}))
    if unknown:
        raise SettingsError(f"{path}: {unknown[0]} is not a setting.")
    return values


def prepare_home(settings: Settings) -> None:
    """Make the home, readable by its owner alone: its mode is the local command line's guard."""
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.home.chmod(0o700)
    except OSError as error:
        raise SettingsError(f"STORAGE_HOME: {error.strerror}: {settings.home}.") from None
