"""All secrets as one list: keys, what they seal, and whose it is. Metadata only; no envelope is among the columns."""

from typing import Any

from sqlalchemy import case, func, literal, null, select, union_all

from ..domain.secret import MASTER_OWNER, SYSTEM_OWNER, KeyState, SecretInfo, SecretKind
from . import tables
from .mapping import Mapper
from .paging import Listing

_MASTER_ID = 12


def _table(row: Any) -> Any:
    return row.__table__


_KEYS, _SECRETS, _DATA_KEYS = _table(tables.KeyRow), _table(tables.SecretRow), _table(tables.DataKeyRow)
_ENCRYPTIONS, _CHANNELS = _table(tables.EncryptionRow), _table(tables.ChannelRow)
_REMEMBERED, _TENANTS = _table(tables.RememberedRow), _table(tables.TenantRow)
_PROVIDERS, _DATABASES, _BACKUPS = (
    _table(tables.ProviderRow),
    _table(tables.DatabaseRow),
    _table(tables.BackupRow),
)


def _count(table: Any, *tests: Any) -> Any:
    return select(func.count()).select_from(table).where(*tests).scalar_subquery()


def _columns(**columns: Any) -> list[Any]:
    """In the one order that all parts of the union have."""
    return [columns[name].label(name) for name in sorted(columns)]


def _passwords() -> Any:
    field = func.substr(_SECRETS.c.id, func.length(_SECRETS.c.owner_id) + 2)
    before = _SECRETS.c.collection == "previous"
    password = _SECRETS.c.collection.in_(("providers", "previous"))
    kind = case((password, SecretKind.PASSWORD.value), else_=SecretKind.VALUE.value)
    return select(
        *_columns(
            id=_SECRETS.c.id,
            kind=kind,
            what=case((before, "providers password before"), else_=_SECRETS.c.collection + " " + field),
            owner_id=_SECRETS.c.owner_id,
            owner_name=func.coalesce(_PROVIDERS.c.name, _CHANNELS.c.name, _SECRETS.c.owner_id),
            tenant_id=_SECRETS.c.tenant_id,
            provider_id=_PROVIDERS.c.id,
            key_id=_SECRETS.c.key_id,
            key_version=func.coalesce(_KEYS.c.version, 0),
            version=_SECRETS.c.version,
            state=func.coalesce(_KEYS.c.state, KeyState.DESTROYED.value),
            used_by=_count(_DATABASES, _DATABASES.c.provider_id == _SECRETS.c.owner_id)
            + case((_CHANNELS.c.id.is_(None), 0), else_=1),
            created_at=_SECRETS.c.created_at,
            updated_at=_SECRETS.c.updated_at,
            age_days=literal(0),
            row_version=literal(1),
        )
    ).select_from(
        _SECRETS.outerjoin(_KEYS, _KEYS.c.id == _SECRETS.c.key_id)
        .outerjoin(_PROVIDERS, _PROVIDERS.c.id == _SECRETS.c.owner_id)
        .outerjoin(_CHANNELS, _CHANNELS.c.id == _SECRETS.c.owner_id)
    )


def _data_keys() -> Any:
    return select(
        *_columns(
            id=_DATA_KEYS.c.id,
            kind=literal(SecretKind.DATA_KEY.value),
            what=literal("backup data"),
            owner_id=_DATA_KEYS.c.id,
            owner_name=func.coalesce(_BACKUPS.c.database_name, ""),
            tenant_id=_DATA_KEYS.c.tenant_id,
            provider_id=_BACKUPS.c.provider_id,
            key_id=_DATA_KEYS.c.key_id,
            key_version=func.coalesce(_KEYS.c.version, 0),
            version=literal(1),
            state=func.coalesce(_KEYS.c.state, KeyState.DESTROYED.value),
            used_by=case((_BACKUPS.c.id.is_(None), 0), else_=1),
            created_at=_DATA_KEYS.c.created_at,
            updated_at=_DATA_KEYS.c.created_at,
            age_days=literal(0),
            row_version=literal(1),
        )
    ).select_from(
        _DATA_KEYS.outerjoin(_KEYS, _KEYS.c.id == _DATA_KEYS.c.key_id).outerjoin(
            _BACKUPS, _BACKUPS.c.id == _DATA_KEYS.c.id
        )
    )


def _collection_keys() -> Any:
    return select(
        *_columns(
            id=_ENCRYPTIONS.c.id,
            kind=literal(SecretKind.DATA_KEY.value),
            what=literal("collection ") + _ENCRYPTIONS.c.collection,
            owner_id=_ENCRYPTIONS.c.database_id,
            owner_name=func.coalesce(_DATABASES.c.name, ""),
            tenant_id=_ENCRYPTIONS.c.tenant_id,
            provider_id=_DATABASES.c.provider_id,
            key_id=_ENCRYPTIONS.c.key_id,
            key_version=func.coalesce(_KEYS.c.version, 0),
            version=literal(1),
            state=func.coalesce(_KEYS.c.state, KeyState.DESTROYED.value),
            used_by=case((_DATABASES.c.id.is_(None), 0), else_=1),
            created_at=_ENCRYPTIONS.c.created_at,
            updated_at=_ENCRYPTIONS.c.created_at,
            age_days=literal(0),
            row_version=literal(1),
        )
    ).select_from(
        _ENCRYPTIONS.outerjoin(_KEYS, _KEYS.c.id == _ENCRYPTIONS.c.key_id).outerjoin(
            _DATABASES, _DATABASES.c.id == _ENCRYPTIONS.c.database_id
        )
    )


def _keys() -> Any:
    masters, wrapped = _KEYS.alias(), _KEYS.alias()
    is_master = _KEYS.c.owner == MASTER_OWNER
    sealed = sum(
        (_count(t, t.c.key_id == _KEYS.c.id) for t in (_SECRETS, _DATA_KEYS, _ENCRYPTIONS, _REMEMBERED)),
        literal(0),
    )
    wraps = _count(wrapped, func.substr(wrapped.c.wrapped, 1, _MASTER_ID) == _KEYS.c.id)
    return select(
        *_columns(
            id=_KEYS.c.id,
            kind=case((is_master, SecretKind.MASTER.value), else_=SecretKind.KEY.value),
            what=case((is_master, "master key"), else_="key-encryption key"),
            owner_id=_KEYS.c.owner,
            owner_name=func.coalesce(_TENANTS.c.name, _KEYS.c.owner),
            tenant_id=case((_KEYS.c.owner.in_((MASTER_OWNER, SYSTEM_OWNER)), null()), else_=_KEYS.c.owner),
            provider_id=null(),
            key_id=func.coalesce(masters.c.id, ""),
            key_version=func.coalesce(masters.c.version, 0),
            version=_KEYS.c.version,
            state=_KEYS.c.state,
            used_by=case((is_master, wraps), else_=sealed),
            created_at=_KEYS.c.created_at,
            updated_at=_KEYS.c.updated_at,
            age_days=literal(0),
            row_version=literal(1),
        )
    ).select_from(
        _KEYS.outerjoin(masters, masters.c.id == func.substr(_KEYS.c.wrapped, 1, _MASTER_ID)).outerjoin(
            _TENANTS, _TENANTS.c.id == _KEYS.c.owner
        )
    )


INVENTORY: Any = union_all(_passwords(), _data_keys(), _collection_keys(), _keys()).subquery("inventory")


def entry() -> tuple[Mapper[SecretInfo], Listing]:
    mapper = Mapper(SecretInfo, INVENTORY)
    reach = {"tenants": "tenant_id", "providers": "provider_id"}
    fields = mapper.scalars - {"age_days"}
    return mapper, Listing(INVENTORY, fields, ("owner_name", "what", "key_id"), reach)
