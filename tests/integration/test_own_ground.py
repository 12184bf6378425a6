"""The console's own files and databases are nobody's: no provider lists, adopts or drops them."""

import asyncio
import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from storage_core.bootstrap import Core
from storage_core.domain.errors import InvalidRequest, NotFound, StorageError
from storage_core.domain.provider import Endpoint, Provider
from storage_core.services.databases import AdoptDatabase, ExistingDatabases
from storage_core.services.providers import CreateProvider
from tests.integration.homes import a_postgresql_database, opened, settings_of, somebody


async def registered(core: Core, path: Path | str) -> Provider:
    request = CreateProvider.model_validate(
        {"name": f"files-{secrets.token_hex(3)}", "kind": "sqlite", "connection": {"path": str(path)}}
    )
    return await core.providers.create(somebody(), request)


async def names_on(core: Core, provider: Provider) -> set[str]:
    found = await core.databases.existing(somebody(), ExistingDatabases(provider_id=provider.id))
    return {one.physical_name for one in found}


async def adopt(core: Core, provider: Provider, name: str) -> None:
    request = AdoptDatabase(provider_id=provider.id, name=f"a-{secrets.token_hex(3)}", physical_name=name)
    await core.databases.adopt(somebody(), request)


def refuses(error: pytest.ExceptionInfo[InvalidRequest]) -> bool:
    return error.value.field == "connection.path" and bool(error.value.hint)


@pytest.mark.parametrize(
    "place",
    [
        "home",
        ".",
        "/",
        "home/store",
        "home/store/artifacts/x",
        "home/servers/pg",
        "home/logs",
        "home/run/new",
    ],
)
async def test_the_home_what_holds_it_and_its_own_folders_are_refused(tmp_path: Path, place: str) -> None:
    async with opened(settings_of(tmp_path / "home")) as core:
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        with pytest.raises(InvalidRequest) as refused:
            await registered(core, tmp_path / place)
        assert refuses(refused), refused.value


async def test_a_folder_that_is_not_there_yet_is_refused_and_not_made(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path / "home")) as core:
        with pytest.raises(InvalidRequest):
            await registered(core, tmp_path / "home" / "servers")
        assert not (tmp_path / "home" / "servers").exists()


async def test_other_spellings_of_the_home_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "elsewhere").mkdir()
    async with opened(settings_of(tmp_path / "linked" / "home")) as core:
        for spelling in ("real/home", "linked/home", "real", "linked/home/store", "elsewhere/../real/home"):
            with pytest.raises(InvalidRequest) as refused:
                await registered(core, f"{tmp_path}/{spelling}")
            assert refuses(refused)


async def test_own_files_outside_of_the_home_are_refused_as_well(tmp_path: Path) -> None:
    for name in ("catalogs", "jobs", "keys", "heads", "backups"):
        (tmp_path / name).mkdir()
    (tmp_path / "keys" / "master.key").write_text(secrets.token_hex(32))
    (tmp_path / "keys" / "master.key").chmod(0o600)
    settings = settings_of(
        tmp_path / "home",
        catalog_url=f"sqlite:///{tmp_path}/catalogs/c.sqlite3",
        jobs_url=f"sqlite:///{tmp_path}/jobs/j.sqlite3",
        master_key_file=tmp_path / "keys" / "master.key",
        audit_heads_url=f"file://{tmp_path}/heads/heads.jsonl",
        artifacts_url=f"file://{tmp_path}/backups/store",
    )
    async with opened(settings) as core:
        for place in ("catalogs", "jobs", "keys", "heads", "backups", "backups/store", "backups/store/new"):
            with pytest.raises(InvalidRequest) as refused:
                await registered(core, tmp_path / place)
            assert refuses(refused)
        assert (await registered(core, tmp_path / "backups" / "other")).endpoint.path


async def test_a_folder_of_its_own_in_the_home_is_fine(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path / "home")) as core:
        provider = await registered(core, tmp_path / "home" / "files")
        assert await names_on(core, provider) == set()


async def test_own_files_are_never_a_providers_whatever_comes_to_lie_there(tmp_path: Path) -> None:
    """A hard link to the catalog, and a root that becomes the home's parent after it was registered."""
    async with opened(settings_of(tmp_path / "data" / "home")) as core:
        root = tmp_path / "files"
        provider = await registered(core, root)
        os.link(tmp_path / "data" / "home" / "catalog.sqlite3", root / "linked.sqlite3")
        with closing(sqlite3.connect(root / "people.sqlite3")) as db:
            db.execute("create table t (a)")
        assert await names_on(core, provider) == {"people.sqlite3"}
        with pytest.raises(StorageError):
            await adopt(core, provider, "linked.sqlite3")
        engine = await core.databases.engine_of(provider)
        for call in (engine.databases.drop, engine.databases.stats, engine.databases.optimize):
            with pytest.raises(InvalidRequest):
                await call("linked.sqlite3")
        assert (root / "linked.sqlite3").exists()

        root.rename(tmp_path / "moved")
        (tmp_path / "data").rename(root)
        root.joinpath("home").mkdir(exist_ok=True)
        (tmp_path / "data").symlink_to(root)
        with pytest.raises(InvalidRequest):
            await names_on(core, provider)
        with pytest.raises(InvalidRequest):
            await engine.databases.drop("home/catalog.sqlite3")
        assert (root / "home" / "catalog.sqlite3").exists()


@pytest.mark.servers
@pytest.mark.timeout(120)
async def test_the_catalogs_own_database_is_no_providers(
    tmp_path: Path, postgresql_server: tuple[Endpoint, str]
) -> None:
    endpoint, password = postgresql_server
    async with (
        a_postgresql_database(postgresql_server) as url,
        a_postgresql_database(postgresql_server) as jobs,
    ):
        own = {address.rpartition("/")[2] for address in (url, jobs)}
        async with opened(settings_of(tmp_path / "home", catalog_url=url, jobs_url=jobs)) as core:
            for host in ("127.0.0.1", "localhost"):
                connection = {
                    "host": host, "port": endpoint.port, "user": endpoint.user, "password": password
                }  # fmt: skip
                provider = await core.providers.create(
                    somebody(),
                    CreateProvider.model_validate(
                        {"name": f"pg-{host[:3]}", "kind": "postgresql", "connection": connection}
                    ),
                )
                there = await names_on(core, provider)
                assert not there & own
                engine = await core.databases.engine_of(provider)
                assert engine.backup is not None
                for name in own:
                    with pytest.raises((InvalidRequest, NotFound)):
                        await adopt(core, provider, name)
                    for call in (engine.databases.drop, engine.databases.stats, engine.databases.optimize):
                        with pytest.raises(InvalidRequest):
                            await call(name)
                    with pytest.raises(InvalidRequest):
                        async with engine.backup.dump(name, lambda *_: None):
                            pass
        admin = await asyncpg.connect(url)
        assert await admin.fetchval("select count(*) from audit") is not None
        await asyncio.wait_for(admin.close(), 10)
