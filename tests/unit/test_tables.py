"""The catalog's tables are the catalog's alone."""

from sqlmodel import SQLModel

from storage_core.catalog import tables


def test_an_application_s_models_and_the_catalog_s_know_nothing_of_each_other() -> None:
    assert tables.metadata is not SQLModel.metadata
    assert not set(tables.metadata.tables) & set(SQLModel.metadata.tables)
