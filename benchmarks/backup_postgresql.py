"""PostgreSQL: our dump with manifest and seal against ``pg_dump -Fc -Z0 | zstd -1``, interleaved in one run.

And a restore from pieces against ``pg_restore -j2`` from a file.
"""

import asyncio
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
from backports import zstd

from storage_core.backing.archive import SealedArchive
from storage_core.backing.servers.servers import LocalServers
from storage_core.domain.backup import Manifest, compare
from storage_core.domain.provider import Endpoint
from storage_core.ports.backup import Piece
from storage_core.providers.postgresql.dial import Dialer
from storage_core.providers.postgresql.dump import DUMP_MEMBER
from storage_core.providers.postgresql.engine import PostgresEngine
from storage_core.providers.postgresql.tools import Toolbox, Tools, signed_in

ROUNDS, RESTORES = 7, 3
NAME, COPY, NATIVE = "sc_bench", "sc_bench_copy", "sc_bench_native"
FLOOR = 0.9
KEY, LABEL = bytes(range(32)), b"benchmark"
MIB = 1 << 20
#: A mix such as applications keep: keys, text, money, times, documents; about 330 bytes of dump for each row.
TABLE = """
create table {0} (id bigint primary key, customer int not null, sku text, status varchar(12), amount numeric(12, 2),
  placed timestamptz, paid bool, token uuid, note text, body jsonb)
"""
ROWS = """
insert into {0} select g, (g * 7919) % 100003, 'SKU-' || (g % 5003), (array['new', 'paid', 'sent'])[1 + g % 3],
  (g % 99991) / 7.0, '2026-01-01'::timestamptz + g * interval '13 seconds', g % 2 = 0, md5(g::text)::uuid,
  md5((g % 4096)::text) || ' ' || md5((g % 977)::text) || ' ' || md5((g + 1)::text),
  jsonb_build_object('city', 'City ' || g % 701, 'lines', g % 9, 'weight', (g % 1000) / 8.0, 'tags', array['a', 'b'])
from generate_series($1::int8, $2::int8) g
"""
BATCH = 50_000
#: Several, as a restore with two connections needs to be faster than one.
TABLES = ("orders_2023", "orders_2024", "orders_2025", "orders_2026")
SIZE = "select sum(pg_table_size(oid))::int8 from pg_class where relname = any($1)"


def no_progress(done: int, expected: int | None) -> None: ...


async def fill(endpoint: Endpoint, password: str, size_mb: int) -> float:
    """Rows until the tables are about `size_mb`; answers their size in MB."""
    connection = await asyncpg.connect(
        host=endpoint.host, port=endpoint.port, user=endpoint.user, password=password, database=NAME
    )
    for table in TABLES:
        await connection.execute(TABLE.format(table))
    size, first = 0, 1
    while size < size_mb * MIB:
        await connection.execute(ROWS.format(TABLES[first // BATCH % len(TABLES)]), first, first + BATCH - 1)
        first += BATCH
        size = await connection.fetchval(SIZE, TABLES)
    await connection.execute("vacuum (analyze)")
    await connection.close()
    return size / MIB


async def piped(tools: Tools, dialer: Dialer) -> int:
    """The yardstick: pg_dump into zstd, by the binary where there is one."""

    def work() -> int:
        assert dialer.endpoint.host
        with signed_in(dialer, NAME, dialer.endpoint.host) as sign:
            dump = subprocess.Popen(
                [tools.path("pg_dump"), "-Fc", "-Z0", f"--dbname={sign.target}"],
                stdout=subprocess.PIPE,
                env=sign.environment,
                pass_fds=sign.descriptors,
            )
            assert dump.stdout
            if binary := shutil.which("zstd"):
                done = subprocess.run(
                    [binary, "-1", "-q", "-c"], stdin=dump.stdout, stdout=subprocess.DEVNULL, check=True
                )
                size = done.returncode
            else:
                compressor, size = zstd.ZstdCompressor(level=1), 0
                while data := dump.stdout.read(MIB):
                    size += len(compressor.compress(data))
            assert dump.wait() == 0
        return size

    return await asyncio.to_thread(work)


async def dumped(engine: PostgresEngine) -> tuple[list[Piece], Manifest]:
    assert engine.backup
    async with engine.backup.dump(NAME, no_progress) as dump:
        pieces = [piece async for piece in dump.pieces()]
        return pieces, dump.manifest


async def manifest_only(engine: PostgresEngine) -> int:
    assert engine.backup
    size = 0
    async with engine.backup.dump(NAME, no_progress) as dump:
        async for piece in dump.pieces():
            size += len(piece.data)
    return size


async def sealed(engine: PostgresEngine) -> int:
    assert engine.backup
    size = 0
    async with engine.backup.dump(NAME, no_progress) as dump:
        async for part in SealedArchive().seal(dump.pieces(), KEY, LABEL):
            size += len(part)
        assert dump.manifest.rows
    return size


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def natively_restored(engine: PostgresEngine, tools: Tools, dialer: Dialer, archive: Path) -> None:
    """The yardstick of a restore: from a file, which pg_restore can read with two connections."""
    await engine.databases.create(NATIVE, {})

    def work() -> None:
        assert dialer.endpoint.host
        with signed_in(dialer, NATIVE, dialer.endpoint.host) as sign:
            command = [tools.path("pg_restore"), "-j2", f"--dbname={sign.target}", str(archive)]
            subprocess.run(command, check=True, env=sign.environment, pass_fds=sign.descriptors)

    await asyncio.to_thread(work)


async def restores(engine: PostgresEngine, tools: Tools, dialer: Dialer) -> dict[str, list[float]]:
    """Seconds of each round to restore natively, to restore and to measure; the copy must be equal."""
    assert engine.backup
    pieces, manifest = await dumped(engine)
    taken: dict[str, list[float]] = {"pg_restore": [], "restore": [], "measure": []}

    async def replay() -> AsyncIterator[Piece]:
        for piece in pieces:
            yield piece

    async def measured() -> None:
        assert engine.backup
        assert compare(manifest, await engine.backup.measure(COPY, manifest)) == ()

    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(piece.data for piece in pieces if piece.member == DUMP_MEMBER))
        file.flush()
        for _ in range(RESTORES):
            taken["pg_restore"].append(
                await timed(lambda: natively_restored(engine, tools, dialer, Path(file.name)))
            )
            taken["restore"].append(
                await timed(lambda: engine.backup.restore(replay(), COPY, manifest, no_progress))
            )
            taken["measure"].append(await timed(measured))
            for name in (NATIVE, COPY):
                await engine.databases.drop(name)
    return taken


async def contest(endpoint: Endpoint, password: str, size_mb: int) -> dict[str, float | str]:
    engine, dialer = PostgresEngine(endpoint, password), Dialer(endpoint, password)
    await engine.databases.create(NAME, {})
    heap = await fill(endpoint, password, size_mb)
    major = int((await engine.info()).version.split(".")[0])
    tools = await Toolbox().fitting(major, endpoint.tls)
    contenders: dict[str, Callable[[], Awaitable[int]]] = {
        "piped": lambda: piped(tools, dialer),
        "manifest": lambda: manifest_only(engine),
        "sealed": lambda: sealed(engine),
    }
    size = await manifest_only(engine) / MIB  # warms the cache too
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            times[name].append(await timed(work))
    ratios = [base / ours for base, ours in zip(times["piped"], times["sealed"], strict=True)]
    back = await restores(engine, tools, dialer)
    times |= back
    back_ratios = [base / ours for base, ours in zip(back["pg_restore"], back["restore"], strict=True)]
    await engine.close()
    return {
        "archive_mb": round(size, 1),
        "heap_mb": round(heap, 1),
        **{f"{name}_mb_s": round(size / statistics.median(taken), 1) for name, taken in times.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_best": round(min(times["piped"]) / min(times["sealed"]), 3),
        "floor": FLOOR,
        "restore_ratio": round(statistics.median(back_ratios), 3),
        "restore_ratio_of_best": round(min(back["pg_restore"]) / min(back["restore"]), 3),
    }


async def run(size_mb: int) -> dict[str, float | str]:
    """Megabytes per second of archive, and the median ratio of the yardstick's time to ours (1 is as fast)."""
    with tempfile.TemporaryDirectory() as home:
        servers = LocalServers(Path(home), durable=False)
        await servers.start("postgresql", "bench")
        try:
            return await contest(*await servers.endpoint("bench"), size_mb)
        finally:
            await servers.stop("bench")


if __name__ == "__main__":
    print(asyncio.run(run(200)))
