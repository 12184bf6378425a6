"""Whether a database's collections are the console's own, before anything is run on them.

In a database that was adopted somebody else may have made the schema, or tables in it, with triggers and the like: code of
theirs, which would run with the rights of the provider's user. A schema of our own stays our own.
"""

# ruff: noqa: S608 - constants

from ...domain.errors import Conflict
from .dial import Connection

#: Whoever is the signed-in user, or may act as it: their code may do what ours does.
TRUSTED = "pg_has_role({0}, (select oid from pg_roles where rolname = current_user), 'member')"
#: What of a table may name a function: its catalog and the column that names the table.
PARTS = (
    ("pg_index", "indexrelid", "indrelid", "pg_class"),
    ("pg_constraint", "oid", "conrelid", "pg_constraint"),
    ("pg_attrdef", "oid", "adrelid", "pg_attrdef"),
    ("pg_trigger", "oid", "tgrelid", "pg_trigger"),
    ("pg_rewrite", "oid", "ev_class", "pg_rewrite"),
    ("pg_policy", "oid", "polrelid", "pg_policy"),
)
CODE = " union all ".join(
    f"select '{catalog}'::regclass::oid, x.{id} from {table} x where x.{of} in (select oid from held)"
    for table, id, of, catalog in PARTS
)
#: One row: whether the schema is there, and whether it, its tables and the code on them are trusted.
STATE = f"""
with place as (select oid, nspowner as owner, nspacl as acl from pg_namespace where nspname = $1),
held as (select c.oid, c.relowner as owner, c.relacl as acl from pg_class c join place on c.relnamespace = place.oid
  where c.relkind in ('r', 'p', 'v', 'm', 'f')),
parts (class, id) as ({CODE})
select (select oid::int8 from place),
  not exists (select from place where not {TRUSTED.format("owner")})
  and not exists (select from place, aclexplode(acl) a
    where a.privilege_type = 'CREATE' and (a.grantee = 0 or not {TRUSTED.format("a.grantee")}))
  and not exists (select from held where not {TRUSTED.format("owner")})
  and not exists (select from held, aclexplode(acl) a
    where a.privilege_type = 'TRIGGER' and (a.grantee = 0 or not {TRUSTED.format("a.grantee")}))
  and not exists (select from parts join pg_depend d on d.classid = parts.class and d.objid = parts.id
    join pg_proc p on d.refclassid = 'pg_proc'::regclass and p.oid = d.refobjid
    where not {TRUSTED.format("p.proowner")})
"""


#: A schema that was ours is ours as long as it has its number.
NUMBER = "select oid::int8 from pg_namespace where nspname = $1"


async def number_of_ours(connection: Connection, schema: str) -> int | None:
    """The number of the schema of collections, none where there is none; Conflict where it, or what is in it, is not ours."""
    number, trusted = await connection.fetchrow(STATE, schema)  # type: ignore[misc]  # one row always
    if number is not None and not trusted:
        raise Conflict(
            f"The schema {schema} holds what somebody else made, or may change: documents are not kept there.",
            hint="Give the schema and all that is in it to the provider's user, and take away what others may make"
            " there, triggers as well; or rename it.",
        )
    return number if number is None else int(number)
