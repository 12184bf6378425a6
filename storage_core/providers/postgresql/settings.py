"""The settings a database may be given, by PostgreSQL's own names."""

from collections.abc import Mapping

from asyncpg import exceptions as pg

from ...domain.errors import InvalidRequest
from ...domain.naming import said
from .dial import Connection
from .sql import ident, literal

#: Everything here changes how sessions of the database behave, nothing reaches files, programs or other databases.
ALLOWED = frozenset(
    """
    connection_limit statement_timeout lock_timeout idle_in_transaction_session_timeout idle_session_timeout
    transaction_timeout work_mem maintenance_work_mem temp_buffers hash_mem_multiplier
    default_transaction_isolation default_transaction_read_only default_transaction_deferrable
    timezone datestyle intervalstyle lc_monetary lc_numeric lc_time extra_float_digits bytea_output
    client_min_messages default_statistics_target default_toast_compression default_text_search_config
    effective_cache_size effective_io_concurrency maintenance_io_concurrency random_page_cost seq_page_cost
    cpu_tuple_cost cpu_index_tuple_cost cpu_operator_cost parallel_setup_cost parallel_tuple_cost
    max_parallel_workers_per_gather max_parallel_maintenance_workers min_parallel_table_scan_size
    min_parallel_index_scan_size jit jit_above_cost join_collapse_limit from_collapse_limit
    constraint_exclusion cursor_tuple_fraction plan_cache_mode synchronous_commit gin_fuzzy_search_limit
    gin_pending_list_limit row_security
    """.split()  # noqa: SIM905 - a list to read
)
CONNECTION_LIMIT = "connection_limit"


def checked_settings(settings: Mapping[str, str]) -> None:
    """Refuse what is not on the list, naming the field."""
    for name in settings:
        if name not in ALLOWED:
            raise InvalidRequest(
                f"{said(name)} is not a setting that can be changed here.",
                field=f"settings.{name}",
                hint=f"Known settings: {', '.join(sorted(ALLOWED))}.",
            )


async def apply(connection: Connection, database: str, settings: Mapping[str, str]) -> None:
    """Set all or none; an empty value takes a setting back. InvalidRequest names the one that is refused."""
    async with connection.transaction():
        for name, value in settings.items():
            try:
                await connection.execute(_statement(database, name, value))
            except (pg.DataError, pg.SyntaxOrAccessError) as error:
                if isinstance(error, pg.InsufficientPrivilegeError | pg.InvalidCatalogNameError):
                    raise
                raise InvalidRequest(f"{name}: {error.args[0]}", field=f"settings.{name}") from error


def _statement(database: str, name: str, value: str) -> str:
    target = f"alter database {ident(database)}"
    if name == CONNECTION_LIMIT:
        limit = value.strip() or "-1"
        if not limit.removeprefix("-").isdigit() or not -1 <= int(limit) <= 262143:
            raise InvalidRequest("connection_limit must be -1 (none) or a number.", field=f"settings.{name}")
        return f"{target} connection limit {int(limit)}"
    return f"{target} set {name} to {literal(value)}" if value else f"{target} reset {name}"
