"""Models of an application as people declare them, for SQLAlchemy and for SQLModel."""

from sqlalchemy import ForeignKey, MetaData, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlmodel import Field, SQLModel

from storage_core.storage import AuditedModel, AuditedSQLModel


class Base(DeclarativeBase):
    metadata = MetaData(schema="tenant")


class Order(AuditedModel, Base):
    __tablename__ = "orders"
    __table_args__ = (UniqueConstraint("number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(String(40))
    lines: Mapped[list["Line"]] = relationship(back_populates="order", cascade="all, delete-orphan")


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id, ondelete="CASCADE"))
    text: Mapped[str]
    order: Mapped[Order] = relationship(back_populates="lines")


class Note(SQLModel, table=True):
    """Declared without a schema."""

    id: int | None = Field(default=None, primary_key=True)
    text: str


class Entry(AuditedSQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    text: str
