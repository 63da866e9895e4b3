-- Which rows of the counting tables the running transaction adds to. The flusher says its epoch and the clean-up -1, so
-- that no two of them ever wait for each other's rows; everybody else writes so little that a few shards do.
create or replace function rollcall.usage_shard() returns bigint
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return coalesce(nullif(current_setting('rollcall.usage_shard', true), '')::bigint, -2 - pg_backend_pid() % 16);
end
$$;

comment on function rollcall.usage_shard() is
    'Internal: the shard of the counting tables that the running transaction adds to.';
