"""What a database consists of besides rows: one query per kind, each answering names and definitions.

Definitions are PostgreSQL's own wording under an empty search path, so that every name in them is qualified.
What belongs to an extension is the extension's; what PostgreSQL makes on its own (array types, row types, children's
copies of a parent's constraint) is implied by what it was made for.
"""

# ruff: noqa: S608 - every part of these queries is a constant or quoted by the server

from ...domain.backup import ManifestObject
from .dial import ONLY, Connection
from .wording import digest, worded

EXTENSION = "extension"
POLICY_NOTE = "for roles: "

#: The one schema that a session is about, null where that is all of a database.
SCOPE = f"nullif(current_setting('{ONLY}', true), '')"
USER = (
    f"n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and n.nspname = coalesce({SCOPE}, n.nspname)"
)


#: Whether an object is in the session's schema: its address begins with that, or with a type's qualified name.
SCOPED = f"""({SCOPE} is null or (select o.object_names[1] = {SCOPE} or o.object_names[1] = quote_ident({SCOPE})
    or starts_with(o.object_names[1], quote_ident({SCOPE}) || '.')
  from pg_identify_object_as_address({{0}}, {{1}}, {{2}}) o))"""


def own(catalog: str, alias: str) -> str:
    """Not a member of an extension."""
    return (
        f"not exists (select from pg_depend d where d.classid = '{catalog}'::regclass"
        f" and d.objid = {alias}.oid and d.deptype = 'e')"
    )


COLUMN = """concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
    case when a.attnotnull then 'not null' end,
    case when a.attcollation <> ty.typcollation then 'collate ' || a.attcollation::regcollation end,
    case when a.attidentity <> '' then 'identity ' || a.attidentity::text end,
    case when a.attgenerated <> '' then 'generated ' || a.attgenerated::text end,
    case when a.attstorage <> ty.typstorage then 'storage ' || a.attstorage::text end,
    case when coalesce(a.attstattarget, -1) <> -1 then 'statistics ' || a.attstattarget end,
    array_to_string(a.attoptions, ','), array_to_string(a.attfdwoptions, ','),
    'default ' || pg_get_expr(ad.adbin, ad.adrelid))"""

# A child's columns come back in its parent's order, so theirs are listed by name.
COLUMNS_OF = f"""(select string_agg({COLUMN}, E',\n' order by
    case when c.relispartition or not exists (select from pg_inherits i where i.inhrelid = c.oid)
      then a.attnum end, a.attname collate "C")
  from pg_attribute a join pg_type ty on ty.oid = a.atttypid
  left join pg_attrdef ad on ad.adrelid = a.attrelid and ad.adnum = a.attnum
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)"""

STRUCTURE = f"""concat_ws(E'\n', c.relkind, c.relpersistence,
    (select amname from pg_am where pg_am.oid = c.relam and c.relkind in ('r', 'm')),
    (select string_agg(o, ',' order by o) from unnest(c.reloptions) o),
    'partition by ' || pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
    'of ' || nullif(c.reloftype, 0)::regtype, 'row security ' || c.relrowsecurity, c.relforcerowsecurity,
    'replica identity ' || c.relreplident::text,
    'inherits ' || (select string_agg(i.inhparent::regclass::text, ',' order by i.inhseqno)
      from pg_inherits i where i.inhrelid = c.oid),
    {COLUMNS_OF})"""

RELATION = f"""from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where {USER} and {own("pg_class", "c")} and c.relpersistence <> 't'"""

SERVER_OF = """(select s.srvname || array_to_string(f.ftoptions, ',') from pg_foreign_table f
  join pg_foreign_server s on s.oid = f.ftserver where f.ftrelid = c.oid)"""

AGGREGATE = """concat_ws(' ', a.aggkind, a.aggnumdirectargs, pg_get_function_result(p.oid), p.proparallel,
    a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn,
    a.aggmfinalfn, a.aggfinalextra, a.aggmfinalextra, a.aggfinalmodify, a.aggtranstype::regtype,
    a.aggsortop::regoperator, a.aggtransspace, a.agginitval, a.aggminitval)"""

TYPE_TEXT = f"""case t.typtype
  when 'e' then (select string_agg(quote_literal(e.enumlabel), ',' order by e.enumsortorder)
    from pg_enum e where e.enumtypid = t.oid)
  when 'c' then (select {COLUMNS_OF} from pg_class c where c.oid = t.typrelid)
  when 'd' then concat_ws(' ', format_type(t.typbasetype, t.typtypmod), t.typnotnull,
    case when t.typcollation <> b.typcollation then t.typcollation::regcollation end,
    t.typdefault, (select string_agg(quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid), E'\n'
      order by k.conname) from pg_constraint k where k.contypid = t.oid and k.contype = 'c'))
  when 'r' then (select concat_ws(' ', r.rngsubtype::regtype, nullif(r.rngcollation, 0)::regcollation,
    r.rngcanonical, r.rngsubdiff) from pg_range r where r.rngtypid = t.oid)
  else concat_ws(' ', t.typinput, t.typoutput, t.typlen, t.typalign, t.typstorage, t.typcategory) end"""

#: Kind and query; each answers name, definition and a note.
QUERIES: tuple[tuple[str, str], ...] = (
    (
        "schema",
        f"""select quote_ident(n.nspname), '', '' from pg_namespace n
       where {USER} and {own("pg_namespace", "n")}""",
    ),
    (
        "structure",
        f"""select 'columns of ' || format('%I.%I', n.nspname, c.relname), {STRUCTURE}, ''
       {RELATION} and c.relkind in ('r', 'p')""",
    ),
    (
        "foreign table",
        f"""select format('%I.%I', n.nspname, c.relname), {STRUCTURE} || {SERVER_OF},
       'its rows live on another server and are not in the backup' {RELATION} and c.relkind = 'f'""",
    ),
    (
        "view",
        f"""select format('%I.%I', n.nspname, c.relname), {STRUCTURE} || pg_get_viewdef(c.oid), ''
       {RELATION} and c.relkind = 'v'""",
    ),
    (
        "materialized view",
        f"""select format('%I.%I', n.nspname, c.relname),
       {STRUCTURE} || c.relispopulated || pg_get_viewdef(c.oid), 'refilled by its query when restored'
       {RELATION} and c.relkind = 'm'""",
    ),
    (
        "sequence definition",
        f"""select 'definition of ' || format('%I.%I', n.nspname, c.relname),
       concat_ws(' ', c.relpersistence, s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
         s.seqcache, s.seqcycle, (select d.deptype::text || ' ' || d.refobjid::regclass || '.' || quote_ident(a.attname)
           from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
           where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_class'::regclass
             and d.deptype in ('a', 'i') limit 1)), ''
       from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
       where {USER} and {own("pg_class", "c")} and c.relpersistence <> 't'""",
    ),
    (
        "index",
        f"""select format('%I.%I', n.nspname, c.relname),
       concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisclustered, i.indisreplident), ''
       from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
       join pg_class r on r.oid = i.indrelid
       where {USER} and {own("pg_class", "r")} and c.relpersistence <> 't' and (i.indisvalid or c.relkind = 'I')""",
    ),
    (
        "constraint",
        f"""select k.conrelid::regclass || '.' || quote_ident(k.conname),
       concat_ws(' ', k.contype, pg_get_constraintdef(k.oid)), ''
       from pg_constraint k join pg_class r on r.oid = k.conrelid join pg_namespace n on n.oid = r.relnamespace
       where {USER} and {own("pg_class", "r")} and r.relpersistence <> 't'
         and k.contype <> 'n' and k.conparentid = 0""",
    ),
    (
        "trigger",
        f"""select g.tgrelid::regclass || '.' || quote_ident(g.tgname),
       concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled), ''
       from pg_trigger g join pg_class r on r.oid = g.tgrelid join pg_namespace n on n.oid = r.relnamespace
       where {USER} and {own("pg_class", "r")} and not g.tgisinternal and g.tgparentid = 0""",
    ),
    (
        "rule",
        f"""select w.ev_class::regclass || '.' || quote_ident(w.rulename),
       concat_ws(' ', pg_get_ruledef(w.oid), w.ev_enabled), ''
       from pg_rewrite w join pg_class r on r.oid = w.ev_class join pg_namespace n on n.oid = r.relnamespace
       where {USER} and {own("pg_class", "r")} and w.rulename <> '_RETURN'""",
    ),
    (
        "routine",
        f"""select format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
       p.prokind::text || case p.prokind when 'a' then (select {AGGREGATE} from pg_aggregate a where a.aggfnoid = p.oid)
         else pg_get_functiondef(p.oid) end, ''
       from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {USER} and {own("pg_proc", "p")}
         and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid
           and d.deptype = 'i')""",
    ),
    (
        "type",
        f"""select format('%I.%I', n.nspname, t.typname), t.typtype::text || {TYPE_TEXT}, ''
       from pg_type t join pg_namespace n on n.oid = t.typnamespace left join pg_type b on b.oid = t.typbasetype
       where {USER} and {own("pg_type", "t")} and t.typtype <> 'm'
         and not exists (select from pg_type e where e.typarray = t.oid)
         and (t.typrelid = 0 or exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))""",
    ),
    (
        "policy",
        f"""select quote_ident(o.polname) || ' on ' || o.polrelid::regclass,
       concat_ws(E'\n', o.polcmd, o.polpermissive, pg_get_expr(o.polqual, o.polrelid),
         pg_get_expr(o.polwithcheck, o.polrelid),
         (select string_agg(u.rolname, ',' order by u.rolname) from pg_roles u where u.oid = any(o.polroles))),
       coalesce('{POLICY_NOTE}' || (select json_agg(u.rolname order by u.rolname) from pg_roles u
         where u.oid = any(o.polroles)), '')
       from pg_policy o join pg_class r on r.oid = o.polrelid join pg_namespace n on n.oid = r.relnamespace
       where {USER} and {own("pg_class", "r")}""",
    ),
    (
        "statistics",
        f"""select format('%I.%I', n.nspname, x.stxname), pg_get_statisticsobjdef(x.oid), ''
       from pg_statistic_ext x join pg_namespace n on n.oid = x.stxnamespace
       where {USER} and {own("pg_statistic_ext", "x")}""",
    ),
    (
        EXTENSION,
        """select quote_ident(x.extname), quote_ident(n.nspname), 'version ' || x.extversion
       from pg_extension x join pg_namespace n on n.oid = x.extnamespace where x.extname <> 'plpgsql'""",
    ),
    (
        "event trigger",
        f"""select quote_ident(e.evtname), concat_ws(' ', e.evtevent, e.evtenabled, e.evtfoid::regproc,
         array_to_string(e.evttags, ',')), '' from pg_event_trigger e where {own("pg_event_trigger", "e")}""",
    ),
    (
        "publication",
        """select quote_ident(p.pubname), concat_ws(' ', p.puballtables, p.pubinsert, p.pubupdate,
         p.pubdelete, p.pubtruncate, p.pubviaroot, (select string_agg(r.prrelid::regclass::text, ','
           order by r.prrelid::regclass::text) from pg_publication_rel r where r.prpubid = p.oid)), ''
       from pg_publication p""",
    ),
    (
        "foreign-data wrapper",
        f"""select quote_ident(f.fdwname), concat_ws(' ', array_to_string(f.fdwoptions, ',')), ''
       from pg_foreign_data_wrapper f where {own("pg_foreign_data_wrapper", "f")}""",
    ),
    (
        "server",
        f"""select quote_ident(s.srvname), concat_ws(' ', f.fdwname, s.srvtype, s.srvversion,
         array_to_string(s.srvoptions, ',')), '' from pg_foreign_server s
       join pg_foreign_data_wrapper f on f.oid = s.srvfdw where {own("pg_foreign_server", "s")}""",
    ),
    ("user mapping", """select format('%I on %I', m.usename, m.srvname), '', '' from pg_user_mappings m"""),
    (
        "text search configuration",
        f"""select format('%I.%I', n.nspname, g.cfgname), concat_ws(' ', pa.prsname,
         (select string_agg(m.maptokentype || ':' || m.mapseqno || ':' || m.mapdict::regdictionary, ','
           order by m.maptokentype, m.mapseqno) from pg_ts_config_map m where m.mapcfg = g.oid)), ''
       from pg_ts_config g join pg_namespace n on n.oid = g.cfgnamespace join pg_ts_parser pa on pa.oid = g.cfgparser
       where {USER} and {own("pg_ts_config", "g")}""",
    ),
    (
        "text search dictionary",
        f"""select format('%I.%I', n.nspname, t.dictname), t.dictinitoption, ''
       from pg_ts_dict t join pg_namespace n on n.oid = t.dictnamespace
       where {USER} and {own("pg_ts_dict", "t")}""",
    ),
    (
        "collation",
        f"""select format('%I.%I', n.nspname, l.collname),
         concat_ws(' ', l.collprovider, l.collisdeterministic, l.collcollate, l.collctype), ''
       from pg_collation l join pg_namespace n on n.oid = l.collnamespace
       where {USER} and {own("pg_collation", "l")}""",
    ),
    (
        "comment",
        """select i.type || ' ' || i.identity, c.description, ''
       from pg_description c, pg_identify_object(c.classoid, c.objoid, c.objsubid) i
       where (c.objoid >= 16384 or c.classoid = 'pg_namespace'::regclass and c.objoid = 2200)
         and (c.objoid <> 2200 or c.description <> 'standard public schema')
         and i.type in ('table', 'table column', 'view', 'view column', 'materialized view', 'sequence', 'index',
           'materialized view column', 'composite type', 'composite type column', 'schema', 'function', 'procedure',
           'aggregate', 'type', 'domain', 'table constraint', 'domain constraint', 'trigger', 'policy', 'rule',
           'statistics object', 'operator', 'collation', 'conversion', 'text search configuration',
           'text search dictionary', 'large object')
         and not exists (select from pg_depend d where d.classid = c.classoid and d.objid = c.objoid
           and d.deptype = 'e')
         and not exists (select from pg_constraint k where c.classoid = 'pg_constraint'::regclass
           and k.oid = c.objoid and (k.conparentid <> 0 or k.contype = 'n'))
         and {scoped}""".format(scoped=SCOPED.format("c.classoid", "c.objoid", "c.objsubid")),
    ),
)

#: Kinds that lie in no schema.
OF_NO_SCHEMA = frozenset(
    (EXTENSION, "event trigger", "publication", "foreign-data wrapper", "server", "user mapping")
)

#: Kinds of which only the names are compared: their catalog.
NAMED = (
    ("operator", "pg_operator"),
    ("operator class", "pg_opclass"),
    ("operator family", "pg_opfamily"),
    ("cast", "pg_cast"),
    ("conversion", "pg_conversion"),
    ("text search parser", "pg_ts_parser"),
    ("text search template", "pg_ts_template"),
    ("language", "pg_language"),
    ("transform", "pg_transform"),
    ("access method", "pg_am"),
)

KINDS = frozenset(kind for kind, _ in (*QUERIES, *NAMED))


async def is_scoped(connection: Connection) -> bool:
    """Whether the session is about one schema alone."""
    return bool(await connection.fetchval(f"select {SCOPE} is not null"))


async def read_definitions(connection: Connection) -> list[ManifestObject]:
    """Every definition of the database, or of the session's schema, hashed."""
    found: list[ManifestObject] = []
    scoped = await is_scoped(connection)
    for kind, query in QUERIES:
        if scoped and kind in OF_NO_SCHEMA:
            continue
        for name, text, note in await connection.fetch(query):
            found.append(_object(kind, name, text or "", note))
    for kind, catalog in NAMED:
        query = (
            f"select i.identity from {catalog} x, pg_identify_object('{catalog}'::regclass, x.oid, 0) i"
            f" where x.oid >= 16384 and {own(catalog, 'x')} and ({SCOPE} is null or i.schema = quote_ident({SCOPE}))"
        )
        found += [_object(kind, name, "", "") for (name,) in await connection.fetch(query)]
    return found


def _object(kind: str, name: str, text: str, note: str) -> ManifestObject:
    # a comment is people's text, everything else is PostgreSQL's wording
    value = text if kind == "comment" else worded(text)
    return ManifestObject(name, kind, 0, digest(value), consistent=kind != "foreign table", note=note)
