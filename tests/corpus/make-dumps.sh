#!/bin/bash
# Make postgresql-17/* anew, as an ordinary user, with PostgreSQL 17's programs in PATH.
# What pg_dump writes changes in minor releases too: \restrict came with 17.6.
set -eu
here=$(dirname "$(realpath "$0")")
out=$here/postgresql-17
work=$(mktemp -d)
trap 'pg_ctl -D "$work/data" -m immediate stop >/dev/null; rm -rf "$work"' EXIT

initdb -D "$work/data" -A trust -U postgres --locale=C.UTF-8 >/dev/null
pg_ctl -D "$work/data" -w -o "-c listen_addresses='' -k $work -c fsync=off" start >/dev/null
export PGHOST=$work PGUSER=postgres

createdb shop
psql -qX -d shop -f "$here/shop.sql" >/dev/null
createdb one_empty_table
psql -qX -d one_empty_table -c 'CREATE TABLE t (a int)'

pg_dump shop >"$out/shop.sql"
pg_dump --inserts shop >"$out/shop-inserts.sql"
pg_dump --column-inserts --rows-per-insert=3 shop >"$out/shop-multirow-inserts.sql"
pg_dump --schema-only shop >"$out/shop-schema-only.sql"
pg_dump one_empty_table >"$out/one-empty-table.sql"
pg_dumpall >"$out/cluster.sql"
pg_dumpall --globals-only >"$out/globals.sql"

pg_dump -Fc -f "$out/shop.dump" shop
pg_dump -Fc shop | cat >"$out/shop-pipe.dump" # without offsets
pg_dump -Fc shop >"$out/shop-stdout.dump"     # with its table of contents at both ends
pg_dump -Fc -Z none -f "$out/shop-none.dump" shop
pg_dump -Fc -Z lz4 -f "$out/shop-lz4.dump" shop
pg_dump -Fc -Z zstd -f "$out/shop-zstd.dump" shop
pg_dump -Fc --inserts -f "$out/shop-inserts.dump" shop
pg_dump -Fc --schema-only -f "$out/shop-schema-only.dump" shop
pg_dump -Fc -f "$out/one-empty-table.dump" one_empty_table
createdb large_object
psql -qX -d large_object -c "SELECT lo_from_bytea(0, 'abc')" >/dev/null
pg_dump -Fc -f "$out/large-object.dump" large_object
