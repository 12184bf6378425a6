"""A base for an application's own models: whose row it is, when it came and changed, and its version."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Integer, String, literal_column
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from ..domain.errors import TenantRequired

#: What a tenant's connection says of itself, among its execution options.
TENANT, NOW = "storage_tenant", "storage_now"


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, to the microsecond: aware and in UTC whatever the engine keeps. Naive ones are refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} names no time zone: use datetime.now(UTC)")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _option(context: DefaultExecutionContext, name: str) -> Any:
    value = context.root_connection.get_execution_options().get(name)
    if value is None:
        raise TenantRequired("The row is written outside of a tenant's session.")
    return value


def _tenant(context: DefaultExecutionContext) -> str:
    return str(_option(context, TENANT))


def _now(context: DefaultExecutionContext) -> datetime:
    moment: datetime = _option(context, NOW)()
    return moment


def _as_created(context: DefaultExecutionContext) -> datetime:
    """The moment of the same row's `created_at`, so that a new row's two are one."""
    given = context.get_current_parameters().get("created_at")
    return given if isinstance(given, datetime) else _now(context)


class Audited:
    """What both kinds of audited models are, for whoever looks after their rows."""


class AuditedModel(Audited):
    """Mix into a declared model: ``class Order(AuditedModel, Base)``.

    Filled in on every way of writing, bulk statements included. An update or delete of an object that somebody else
    changed since it was read raises SQLAlchemy's StaleDataError; another tenant's id in `tenant_id`, given or found
    in the database, TenantMismatch.
    """

    tenant_id: Mapped[str] = mapped_column(String(64), default=_tenant, sort_order=900)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=_now, sort_order=901)
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, default=_as_created, onupdate=_now, sort_order=902
    )
    version: Mapped[int] = mapped_column(
        Integer, default=1, onupdate=literal_column("version") + 1, sort_order=903
    )

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.version}


class AuditedSQLModel(Audited, SQLModel):
    """The same for SQLModel: ``class Order(AuditedSQLModel, table=True)``. The fields are none until a row is written."""

    tenant_id: str | None = Field(
        default=None, max_length=64, nullable=False, sa_column_kwargs={"default": _tenant}
    )
    created_at: datetime | None = Field(
        default=None, nullable=False, sa_type=UtcDateTime, sa_column_kwargs={"default": _now}
    )
    updated_at: datetime | None = Field(
        default=None,
        nullable=False,
        sa_type=UtcDateTime,
        sa_column_kwargs={"default": _as_created, "onupdate": _now},
    )
    version: int | None = Field(
        default=None,
        nullable=False,
        sa_column_kwargs={"default": 1, "onupdate": literal_column("version") + 1},
    )

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        model: Any = cls
        return {"version_id_col": model.__table__.c.version}
