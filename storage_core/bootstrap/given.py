"""What the settings say, in the shapes the core's parts take."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from sqlalchemy import make_url

from ..backing.outbound import GuardedWeb
from ..backing.vault import master_keys
from ..domain.errors import InvalidRequest
from ..domain.federation import RolePolicy, read_rule
from ..domain.outbound import Rules
from ..ports.vault import MasterKeys
from ..ports.verifier import TokenVerifier
from ..providers.files.own import Own
from ..services.configuration import Setting
from ..services.federation import Provider as IdentityProvider
from ..settings import OWN_FOLDERS, PREFIX, Settings
from .sources import utc_now


def own_ground(settings: Settings) -> Own:
    """What the console has on this machine's disk: no directory of databases may hold it or lie in it."""
    files = [_file_of(settings.catalog), _file_of(settings.jobs), settings.master_key_file]
    files += [_path_of(settings.audit_heads)]
    folders = [_path_of(settings.artifacts), *(settings.home / name for name in OWN_FOLDERS)]
    return Own(settings.home, tuple(f for f in files if f), tuple(f for f in folders if f))


def _file_of(url: str) -> Path | None:
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _path_of(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


async def configured_rules() -> Rules:
    """Addresses that stand in the settings of whoever runs the console may be anywhere."""
    return Rules(private=True, loopback=True)


def _role_policy(settings: Settings) -> RolePolicy:
    """The settings' table of groups and roles, read."""
    groups = {
        group: tuple(read_rule(text) for text in ([roles] if isinstance(roles, str) else roles))
        for group, roles in settings.oidc_roles.items()
    }
    return RolePolicy(groups, read_rule(settings.oidc_default_role) if settings.oidc_default_role else None)


async def own_rules() -> Rules:
    """Private local servers listen on this machine, and nowhere else."""
    return Rules(loopback=True)


def master_keys_of(settings: Settings) -> MasterKeys:
    return master_keys(
        settings.home,
        settings.master_key_source,
        _shown(settings.master_key),
        settings.master_key_file,
        _shown(settings.master_key_previous),
    )


def _shown(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def verifier_of(settings: Settings, web: GuardedWeb) -> TokenVerifier | None:
    if settings.jwt_issuer is None:
        return None
    from ..backing.jwt import Issuer, JwtVerifier  # here: most homes trust no other issuer

    keys = settings.jwt_jwks
    try:
        if settings.jwt_jwks_file is not None:
            keys = settings.jwt_jwks_file.read_text("utf-8")
        issuer = Issuer(
            settings.jwt_issuer,
            settings.jwt_audience or "",
            settings.jwt_tenant_claim,
            settings.jwt_role_claim,
            keys,
        )
        return JwtVerifier(issuer, web, utc_now)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"STORAGE_JWT_JWKS: {error}.", hint="Give a JWKS with public keys.") from None


def identity_provider_of(settings: Settings, web: GuardedWeb) -> IdentityProvider | None:
    """Whom people may sign in with, if that is configured."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    from ..backing.issuer import Client, OidcIssuer  # here: most homes have none

    client = Client(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_secret(),
        f"{settings.address.rstrip('/')}/api/auth/oidc/callback",
        f"{settings.address.rstrip('/')}/login",
        settings.oidc_scopes,
        settings.oidc_username_claim,
        settings.oidc_groups_claim,
    )
    both = settings.oidc_sign_out == "provider"
    return IdentityProvider(OidcIssuer(client, web), settings.oidc_name, _role_policy(settings), both)


def started_with(settings: Settings) -> tuple[Setting, ...]:
    """What the console was started with, as people may read it: of secrets only that they are set."""
    out = []
    for name, info in Settings.model_fields.items():
        value = getattr(settings, name)
        hidden = isinstance(value, SecretStr) or (
            value is not None and name.endswith("_url") and "@" in str(value)
        )
        shown = "set, not shown" if hidden else None if value is None else str(value)
        out.append(
            Setting(
                f"{PREFIX}{name.upper()}", info.description or "", shown, settings.source(name), restart=True
            )
        )
    return tuple(out)
