"""A database with every kind of object and every type of value, for PostgreSQL."""

TYPES = """
create schema "Odd Schema";
create type mood as enum ('sad', 'o''k', 'happy');
create type pair as (x int, "Y y" text);
create domain positive as int check (value > 0);
create domain code as varchar(8) default 'x' not null constraint code_form check (value in ('x', 'y', 'abc'));
create type span as range (subtype = float8, subtype_diff = float8mi);
create table kinds (
  id int generated always as identity primary key,
  a_bool bool, a_int2 int2, a_int4 int4, a_int8 int8, a_real real, a_double double precision, a_numeric numeric,
  a_money money, a_char char(5), a_varchar varchar(20), a_text text, a_name name, a_bytea bytea, a_date date,
  a_time time, a_timetz timetz, a_ts timestamp, a_tstz timestamptz, a_interval interval, a_uuid uuid,
  a_json json, a_jsonb jsonb, a_inet inet, a_cidr cidr, a_mac macaddr, a_mac8 macaddr8, a_bit bit(4),
  a_varbit varbit, a_point point, a_box box, a_poly polygon, a_tsv tsvector, a_tsq tsquery, a_oid oid,
  a_class regclass, a_lsn pg_lsn, a_xml xml, a_mood mood, a_pair pair, a_pos positive, a_code code,
  a_span span, a_int4range int4range, a_numrange numrange, a_tstzrange tstzrange,
  a_multi int4multirange, a_ints int[], a_texts text[], a_floats float8[], a_moods mood[], a_pairs pair[],
  a_numerics numeric[], a_dates date[], a_path jsonpath, "t" text, "quo""te" text, "a b" int
);
insert into kinds values (default, true, -32768, 2147483647, 9223372036854775807, 'NaN', '-0', 'NaN', 12.34, 'ab',
  'v', E'line\\n\\ttab \\\\ ü 💡', 'n', '\\x00ff00', '4713-01-01 BC', '24:00', '23:59:59.999999+14', 'infinity',
  '-infinity', '1 mon 30 days -00:00:01', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"b": 1, "a":  1.0}',
  '{"n": 1.00, "u": "\\u20ac"}', '::ffff:1.2.3.4/128', '10.0.0.0/8', '08:00:2b:01:02:03',
  '08:00:2b:01:02:03:04:05', B'1010', B'101', '(1.5,-0)', '(2,2),(1,1)', '((0,0),(1,1),(1,0))', 'fat:2 cat:1A',
  'fat & !rat', 4294967295, 'pg_class', '16/B374D848', null, 'o''k', '(1,"a ""b"",c")', 5, 'abc',
  '[1.5,2.5)', '(,10]', 'empty', '[2000-01-01,)', '{[1,3),[5,7)}', '[0:1]={1,NULL}', '{"a,b",NULL,""}',
  '{NaN,-0,Infinity}', '{happy,sad}', array[row(1, 'x')::pair], '{1.0,1.00}', '{infinity}', '$.a[*] ? (@ > 1)',
  't', 'q', 7);
insert into kinds (a_text, a_code) values (null, 'x'), ('', 'y');
insert into kinds (a_numeric, a_double) select g, g / 3.0 from generate_series(1, 50) g;
"""

OBJECTS = """
create table customers (id serial primary key, email text not null, status varchar(10) default 'new',
  score int default -1, region text collate "C", full_text text generated always as (upper(email)) stored,
  constraint known_status check (status in ('new', 'old', 'gone')), unique (email));
insert into customers (email, status) select 'user' || g || '@example.test', 'old' from generate_series(1, 200) g;
create index customers_lower on customers (lower(email)) where status in ('new', 'old');
create index customers_gin on customers using gin (to_tsvector('simple', email));
alter table customers alter column email set statistics 500, alter column email set storage external;
create table orders (id bigint primary key, customer int references customers (id) on delete cascade deferrable
  initially deferred, placed tsrange, amount numeric(12, 2) check (amount >= 0),
  exclude using gist (placed with &&));
insert into orders select g, g, tsrange('2020-01-01'::timestamp + g * interval '1 day',
  '2020-01-01'::timestamp + (g + 1) * interval '1 day'), g / 7.0 from generate_series(1, 100) g;
create unlogged table scratchpad (n int) with (fillfactor = 70);
insert into scratchpad select generate_series(1, 10);
create table nothing ();
insert into nothing default values;
create table dropped (a int, b int, c text);
alter table dropped drop column b;
insert into dropped values (1, 'x'), (1, 'x');
create table animals (name text, legs int);
create table birds (wings int) inherits (animals);
create table fish (fins int, legs int, name text);
alter table fish inherit animals;
insert into animals values ('dog', 4); insert into birds values ('owl', 2, 2); insert into fish values (3, 0, 'eel');
create table events (at timestamptz not null, what text, primary key (at, what)) partition by range (at);
create table events_1 partition of events for values from ('2020-01-01') to ('2021-01-01');
create table events_2 (what text not null, at timestamptz not null);
alter table events attach partition events_2 for values from ('2021-01-01') to ('2022-01-01');
create table events_rest partition of events default partition by hash (what);
create table events_rest_0 partition of events_rest for values with (modulus 2, remainder 0);
create table events_rest_1 partition of events_rest for values with (modulus 2, remainder 1);
create index events_what on events (what);
insert into events select '2019-06-01'::timestamptz + g * interval '10 days', 'e' || g from generate_series(1, 100) g;
create table "we""ird; name" ("sel ect" int primary key, "üñí" text);
insert into "we""ird; name" values (1, 'x');
create table "Odd Schema"."order" (a int);
insert into "Odd Schema"."order" values (1), (2);
create sequence counted increment -5 minvalue -1000 maxvalue 100 start 50 cycle;
create sequence plain_seq;
select nextval('plain_seq') from generate_series(1, 17);
create view active as select id, email, case when status = 'old' then 'o' else 'n' end as s from customers
  where status in ('new', 'old') and id between 1 and 100;
create view limited with (security_barrier) as select * from orders where amount > 3 with local check option;
create materialized view totals as select customer, sum(amount) as total from orders group by customer;
create unique index totals_customer on totals (customer);
create materialized view empty_view as select 1 as one with no data;
create recursive view numbers (n) as values (1) union all select n + 1 from numbers where n < 5;
create function add(a int, b int default 1, variadic rest int[] default '{}') returns int language sql immutable
  as 'select a + b';
create function touched() returns trigger language plpgsql as $body$begin new.what := new.what || '!'; return new; end$body$;
create function atomic(x int) returns int language sql begin atomic select x + 1 where x in (1, 2); end;
create function listed() returns table (id int, email text) language sql stable as 'select id, email from public.customers';
create procedure tidy(inout n int) language plpgsql as $$begin n := n + 1; end$$;
create aggregate total_of (int) (sfunc = int4pl, stype = int, initcond = '0');
create operator === (leftarg = int, rightarg = int, function = int4eq, commutator = ===);
create function mood_number(m mood) returns int language sql immutable as 'select 1';
create cast (mood as int) with function mood_number(mood) as assignment;
create trigger touch before insert on events for each row when (new.what <> 'keep') execute function touched();
create trigger guard after delete on customers for each statement execute function touched();
alter table customers disable trigger guard;
create rule no_delete as on delete to scratchpad do instead nothing;
create statistics cust_stats (dependencies, ndistinct) on email, status from customers;
create text search configuration plain_text (copy = simple);
create collation plain_c from "C";
comment on table customers is 'people''s e-mail';
comment on column customers.email is 'unique';
comment on index customers_lower is 'for search';
comment on constraint known_status on customers is 'three';
comment on function add(int, int, int[]) is 'adds';
comment on type mood is 'how';
comment on schema "Odd Schema" is 'odd';
comment on view active is 'v';
select lo_from_bytea(4000001, decode(repeat('00ff', 700000), 'hex'));
select lo_from_bytea(4000002, '');
comment on large object 4000001 is 'blob';
"""

SUPERUSER = """
create policy mine on customers for select to public using (email = current_user or status in ('new', 'old'));
alter table customers enable row level security;
create event trigger noticed on ddl_command_end execute function noticed();
create publication everything for all tables;
create foreign data wrapper nowhere;
create server elsewhere foreign data wrapper nowhere options (host 'example.test');
create user mapping for public server elsewhere options (user 'u');
create foreign table remote (id int, what text) server elsewhere options (table_name 'r');
comment on foreign table remote is 'far';
"""
NOTICED = "create function noticed() returns event_trigger language plpgsql as $$begin end$$"

ROWS = {
    "public.kinds": 53,
    "public.customers": 200,
    "public.orders": 100,
    "public.scratchpad": 10,
    "public.nothing": 1,
    "public.dropped": 2,
    "public.animals": 1,
    "public.birds": 1,
    "public.fish": 1,
    "public.events_1": 36,
    'public."we""ird; name"': 1,
    '"Odd Schema"."order"': 2,
}
