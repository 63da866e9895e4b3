#!/usr/bin/env bash
# Writes .sqlx anew: the descriptions of all checked queries, so that a build needs no database.
#
# Works without sqlx-cli: its macros write what they learn from a database into SQLX_OFFLINE_DIR. The database is a
# throw-away cluster with the migrations of this tree; the program itself cannot make it, because it may not build yet.
set -euo pipefail
cd "$(dirname "$0")/.."

find_programs() {
    local place
    for place in "${ROLLCALL_PG_BIN:-}" "$(pg_config --bindir 2>/dev/null || true)" ${PATH//:/ } \
        /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
        if [ -x "$place/initdb" ] && [ -x "$place/psql" ]; then
            echo "$place"
            return
        fi
    done
    echo "error: PostgreSQL is missing" >&2
    return 69
}

# initdb and postgres refuse to run as root.
unprivileged() {
    if [ "$(id -u)" -eq 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi
}

programs=$(find_programs)
folder=$(mktemp -d /tmp/rollcall-sqlx.XXXXXX)
fresh=$PWD/target/sqlx
stop() {
    if [ -f "$folder/data/postmaster.pid" ]; then
        unprivileged "$programs/pg_ctl" -D "$folder/data" -m immediate -s stop || true
    fi
    rm -rf "$folder"
}
trap stop EXIT
if [ "$(id -u)" -eq 0 ]; then chown postgres: "$folder"; fi

(
    cd "$folder"
    unprivileged "$programs/initdb" -D data -U rollcall -A trust -E UTF8 --no-locale --no-sync >initdb.log
    unprivileged "$programs/pg_ctl" -D data -l server.log -w -s \
        -o "-c listen_addresses='' -c unix_socket_directories='$folder' -c fsync=off" start
)
url="postgresql:///postgres?host=$folder&user=rollcall"
sql() { "$programs/psql" "$url" -X -q -v ON_ERROR_STOP=1 "$@" 2> >(grep -v NOTICE >&2); }

sql -c 'create schema rollcall'
for file in migrations/[0-9]*.sql; do sql -1 -f "$file"; done
# In the order of the program, which is the order of use.
for name in $(sed -n '/functions!\[/,/\]/s/^ *"\([a-z0-9_]*\)",$/\1/p' src/store/migrate.rs); do
    sql -f "migrations/functions/$name.sql"
done

rm -rf "$fresh"
mkdir -p "$fresh"
# The macros run only where something is compiled.
touch src/lib.rs src/main.rs tests/it/main.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$fresh" DATABASE_URL="$url" cargo check --workspace --all-targets
rm -rf .sqlx
mv "$fresh" .sqlx
echo "wrote $(find .sqlx -name 'query-*.json' | wc -l) queries to .sqlx"
