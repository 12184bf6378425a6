"""Who owns what in a database and who may do what with it, one query per kind.

Grants appear where they differ from what their owner would have without any; who granted is not compared: that is
how a privilege came about, not what it allows. What belongs to an extension is the extension's.
"""

# ruff: noqa: S608 - every part of these queries is a constant

import json

from ...domain.backup import ManifestObject
from .definitions import SCOPE, USER, is_scoped, own
from .dial import Connection
from .roles import PASSING
from .wording import digest

OWNER, GRANTS, DEFAULTS, ROLES_KIND = "owner", "grants", "default privileges", "roles"
#: Kinds of which nothing is compared where owners and grants cannot come back.
KINDS = frozenset((OWNER, GRANTS, DEFAULTS))
DATABASE = "database"
#: Whom `public` belongs to wherever nobody said otherwise.
OF_ITSELF = "pg_database_owner"

MADE_BY_PEOPLE = """not exists (select from pg_depend d where d.classid = '{0}'::regclass and d.objid = x.oid
    and d.deptype = 'i')"""
NO_SHADOW = """x.typtype <> 'm' and not exists (select from pg_type e where e.typarray = x.oid)
    and (x.typrelid = 0 or exists (select from pg_class c where c.oid = x.typrelid and c.relkind = 'c'))"""

#: Catalog, column of the owner, column of the grants and their kind (none: there are none), further condition.
OWNED = (
    ("pg_namespace", "nspowner", "nspacl", "'n'", USER.replace("n.", "x.")),
    (
        "pg_class",
        "relowner",
        "relacl",
        """(case x.relkind when 'S' then 's' else 'r' end)::"char\"""",
        "x.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and x.relpersistence <> 't'",
    ),
    ("pg_proc", "proowner", "proacl", "'f'", MADE_BY_PEOPLE.format("pg_proc")),
    ("pg_type", "typowner", "typacl", "'T'", NO_SHADOW),
    ("pg_language", "lanowner", "lanacl", "'l'", "true"),
    ("pg_foreign_data_wrapper", "fdwowner", "fdwacl", "'F'", "true"),
    ("pg_foreign_server", "srvowner", "srvacl", "'S'", "true"),
    ("pg_operator", "oprowner", None, None, "true"),
    ("pg_opclass", "opcowner", None, None, "true"),
    ("pg_opfamily", "opfowner", None, None, "true"),
    ("pg_collation", "collowner", None, None, "true"),
    ("pg_conversion", "conowner", None, None, "true"),
    ("pg_ts_config", "cfgowner", None, None, "true"),
    ("pg_ts_dict", "dictowner", None, None, "true"),
    ("pg_statistic_ext", "stxowner", None, None, "true"),
    ("pg_event_trigger", "evtowner", None, None, "true"),
    ("pg_publication", "pubowner", None, None, "true"),
)

#: A list of grants as text in one order, and the roles in it; what roles have that are made for a while is left out.
GRANTED = f"""select string_agg(g.text, ',' order by g.text collate "C"), array_agg(distinct g.role)
  from (select distinct coalesce(quote_ident(r.rolname), 'public') || '=' || a.privilege_type
      || case when a.is_grantable then '*' else '' end as text, coalesce(r.rolname, '')::text as role
    from aclexplode({{0}}) a left join pg_roles r on r.oid = a.grantee
    where (a.grantee = 0 or r.rolname !~ '{PASSING}') {{1}}) g"""

COLUMN_GRANTS = f"""select i.type || ' ' || i.identity, g.text, g.roles
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace,
  lateral pg_identify_object('pg_class'::regclass, c.oid, a.attnum) i,
  lateral ({GRANTED.format("a.attacl", "")}) g(text, roles)
where a.attacl is not null and g.text is not null and not a.attisdropped and {USER} and {own("pg_class", "c")}
  and c.relpersistence <> 't'"""

DEFAULT_GRANTS = f"""select concat_ws(' ', 'of', quote_ident(o.rolname), 'in ' || quote_ident(n.nspname), 'on', d.defaclobjtype),
  coalesce(g.text, ''), array_append(coalesce(g.roles, '{{}}'), o.rolname::text)
from pg_default_acl d join pg_roles o on o.oid = d.defaclrole left join pg_namespace n on n.oid = d.defaclnamespace,
  lateral ({GRANTED.format("d.defaclacl", "")}) g(text, roles)
where (d.defaclnamespace = 0 or g.text is not null) and ({SCOPE} is null or n.nspname = {SCOPE})"""

THE_DATABASE = f"""select pg_get_userbyid(x.datdba)::text, coalesce(g.text, ''), coalesce(g.roles, '{{}}')
from pg_database x, lateral ({GRANTED.format("coalesce(x.datacl, acldefault('d', x.datdba))", "and a.grantee <> x.datdba")}
  ) g(text, roles)
where x.datname = current_database()"""

#: Large objects may be millions: their owners and grants are counted, with the sum of their numbers.
LARGE_OBJECTS = """select {0} as what, count(*) || ' ' || sum(oid::int8) as which, array_agg(distinct {1}) as roles
from pg_largeobject_metadata x {2} group by 1 order by 1"""
LARGE_OWNERS = LARGE_OBJECTS.format("pg_get_userbyid(lomowner)::text", "pg_get_userbyid(lomowner)::text", "")
LARGE_GRANTS = f"""select g.text as what, count(*) || ' ' || sum(x.oid::int8) as which, g.roles as roles
from pg_largeobject_metadata x, lateral ({GRANTED.format("x.lomacl", "")}) g(text, roles)
where x.lomacl is not null and g.text is distinct from ({GRANTED.format("acldefault('L', x.lomowner)", "").replace(", array_agg(distinct g.role)", "")})
group by g.text, g.roles order by 1"""


def _owned(catalog: str, owner: str, acl: str | None, kind: str | None, condition: str) -> str:
    there = f"(x.oid >= 16384 or '{catalog}' = 'pg_namespace' and x.oid = 2200)"
    spaced = {"pg_class": "relnamespace", "pg_proc": "pronamespace", "pg_type": "typnamespace"}.get(catalog)
    if spaced:
        condition += f" and exists (select from pg_namespace n where n.oid = x.{spaced} and {USER})"
    grants = "null::text, '{}'::text[], null::text"
    sides = ""
    if acl is not None:
        default = f"acldefault({kind}, x.{owner})"
        grants = "coalesce(g.text, ''), coalesce(g.roles, '{}'), coalesce(u.text, '')"
        sides = (
            f", lateral ({GRANTED.format(f'coalesce(x.{acl}, {default})', '')}) g(text, roles)"
            f", lateral ({GRANTED.format(default, '')}) u(text, roles)"
        )
    return f"""select i.type || ' ' || i.identity, pg_get_userbyid(x.{owner})::text, {grants}
from {catalog} x, lateral pg_identify_object('{catalog}'::regclass, x.oid, 0) i{sides}
where {there} and {own(catalog, "x")} and {condition}
  and ({SCOPE} is null or i.schema = quote_ident({SCOPE}) or i.type = 'schema' and i.identity = quote_ident({SCOPE}))"""


async def read_owners(connection: Connection) -> list[ManifestObject]:
    """Owners, grants and default privileges; each names its roles in its note, as a JSON list."""
    found: list[ManifestObject] = []
    for columns in OWNED:
        for name, owner, grants, roles, usual in await connection.fetch(_owned(*columns)):
            found.append(_object(OWNER, name, owner, [owner]))
            if grants != usual:
                found.append(_object(GRANTS, name, grants, roles))
    for kind, query in ((GRANTS, COLUMN_GRANTS), (DEFAULTS, DEFAULT_GRANTS)):
        found += [_object(kind, name, text, roles) for name, text, roles in await connection.fetch(query)]
    if await is_scoped(connection):
        return found
    for kind, query in ((OWNER, LARGE_OWNERS), (GRANTS, LARGE_GRANTS)):
        if rows := await connection.fetch(query):
            text = "\n".join(f"{row['what']}: {row['which']}" for row in rows)
            found.append(_object(kind, "large objects", text, [r for row in rows for r in row["roles"]]))
    owner, grants, roles = await connection.fetchrow(THE_DATABASE)  # type: ignore[misc]  # we are connected to it
    found.append(_object(OWNER, DATABASE, owner, [owner]))
    found.append(_object(GRANTS, DATABASE, grants, roles))
    return found


def the_roles(roles: tuple[str, ...]) -> ManifestObject:
    """What the manifest says of the roles that owners and grants name: where one is missing, none come back."""
    return _object(ROLES_KIND, "of owners and grants", "", list(roles))


def roles_of(found: ManifestObject) -> tuple[str, ...]:
    return tuple(json.loads(found.note)) if found.note else ()


def _object(kind: str, name: str, text: str, roles: list[str]) -> ManifestObject:
    note = json.dumps(sorted({role for role in roles if role}), ensure_ascii=False)
    return ManifestObject(name, kind, 0, digest(text), note=note)
