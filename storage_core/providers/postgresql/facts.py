"""What pg_dump leaves out of a single database's archive: the member ``database.json``."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...domain.errors import DamagedArtifact
from .dial import Connection

FORMAT = 1
LIMIT = 16 << 20

DATABASE = """
select pg_encoding_to_char(d.encoding)::text as encoding, d.datcollate::text as collate, d.datctype::text as ctype,
  coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') as provider,
  coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') as locale,
  shobj_description(d.oid, 'pg_database') as comment, d.datconnlimit as connections,
  pg_get_userbyid(d.datdba)::text as owner,
  exists (select from pg_namespace where nspname = 'public') as public
from pg_database d where d.datname = current_database()
"""
SETTINGS = """
select r.rolname::text as role, unnest(s.setconfig) as setting from pg_db_role_setting s
left join pg_roles r on r.oid = s.setrole
where s.setdatabase = (select oid from pg_database where datname = current_database())
  and (s.setrole = 0 or r.rolname is not null) order by 1 nulls first, 2
"""
GRANTS = """
select r.rolname::text as role, a.privilege_type as privilege, a.is_grantable as again
from pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
left join pg_roles r on r.oid = a.grantee
where d.datname = current_database() and (a.grantee = 0 or r.rolname is not null) and a.grantee <> d.datdba
order by 1 nulls first, 2
"""
# The first role of a cluster owns without being recorded as depended on; what is part of something else is its.
MADE = """select from pg_{0} x where x.{1}owner = 10 and x.oid >= 16384 and not exists (
  select from pg_depend d where d.classid = 'pg_{0}'::regclass and d.objid = x.oid and d.deptype in ('e', 'i'))"""
FIRST_OWNS = " or ".join(
    f"exists ({MADE.format(catalog, prefix)})"
    for catalog, prefix in (("class", "rel"), ("proc", "pro"), ("type", "typ"), ("namespace", "nsp"))
)
ROLES = f"""
select rolname::text from pg_roles where oid in (
    select refobjid from pg_shdepend where refclassid = 'pg_authid'::regclass
      and dbid = (select oid from pg_database where datname = current_database()))
  or oid = 10 and ({FIRST_OWNS})
order by 1
"""  # noqa: S608 - constants
POLICIES = """
select n.nspname::text as schema, c.relname::text as table, p.polname::text as name,
  array(select u.rolname::text from pg_roles u where u.oid = any(p.polroles)) as roles
from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
"""
TABLESPACES = """
select distinct t.spcname::text from pg_class c join pg_tablespace t on t.oid = c.reltablespace
where t.oid <> 1664 order by 1
"""
SUBSCRIPTIONS = """
select subname::text from pg_subscription
where subdbid = (select oid from pg_database where datname = current_database()) order by 1
"""


@dataclass(frozen=True, slots=True)
class Policy:
    schema: str
    table: str
    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """`program` is the major version of the pg_dump that wrote the archive, `server` the server's.

    `settings` are (role or none, ``name=value``), `grants` (role or none for everybody, privilege, with grant
    option), `roles` all that own or are granted something inside. `schema` is the one schema that was dumped, where the
    database is one.
    """

    program: int
    server: int
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str | None
    comment: str | None
    connections: int
    owner: str
    public: bool
    settings: tuple[tuple[str | None, str], ...] = ()
    grants: tuple[tuple[str | None, str, bool], ...] = ()
    roles: tuple[str, ...] = ()
    policies: tuple[Policy, ...] = ()
    tablespaces: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    schema: str | None = None

    def of_schema(self, schema: str, roles: tuple[str, ...]) -> "Facts":
        """What of it is about one schema, in which these roles own or may do something."""
        return replace(
            self,
            comment=None,
            connections=-1,
            public=False,
            settings=(),
            grants=(),
            roles=roles,
            policies=tuple(policy for policy in self.policies if policy.schema == schema),
            tablespaces=(),
            subscriptions=(),
            schema=schema,
        )

    def to_bytes(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False).encode()


async def read_facts(connection: Connection, program: int) -> Facts:
    row = await connection.fetchrow(DATABASE)
    assert row is not None  # noqa: S101 - we are connected to it
    return Facts(
        program=program,
        server=connection.get_server_version().major,
        **dict(row),
        settings=tuple((r["role"], r["setting"]) for r in await connection.fetch(SETTINGS)),
        grants=tuple((r["role"], r["privilege"], r["again"]) for r in await connection.fetch(GRANTS)),
        roles=tuple(r[0] for r in await connection.fetch(ROLES)),
        policies=tuple(
            Policy(r["schema"], r["table"], r["name"], tuple(r["roles"]))
            for r in await connection.fetch(POLICIES)
        ),
        tablespaces=tuple(r[0] for r in await connection.fetch(TABLESPACES)),
        subscriptions=tuple(r[0] for r in await connection.fetch(SUBSCRIPTIONS)),
    )


def parse_facts(raw: bytes) -> Facts:
    """Back from bytes; DamagedArtifact when they are not what `to_bytes` makes."""
    try:
        fields: dict[str, Any] = json.loads(raw)
        newer = fields.pop("format") != FORMAT
        if not newer:
            fields |= {
                "settings": tuple((role, setting) for role, setting in fields["settings"]),
                "grants": tuple((role, privilege, again) for role, privilege, again in fields["grants"]),
                "roles": tuple(fields["roles"]),
                "policies": tuple(
                    Policy(p["schema"], p["table"], p["name"], tuple(p["roles"])) for p in fields["policies"]
                ),
                "tablespaces": tuple(fields["tablespaces"]),
                "subscriptions": tuple(fields["subscriptions"]),
            }
            return Facts(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedArtifact("The backup's description of the database cannot be read.") from error
    raise DamagedArtifact(
        "The backup is of a newer format.", hint="Restore it with a newer version of this product."
    )
