-- Keeps session_stats_day and the histograms in step with sessions. What a session counts for is taken back for its old
-- row and added for its new one; most updates change nothing of it and cancel out here.
create or replace function rollcall.count_sessions() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_changes rollcall.session_change[];
begin
    if tg_op = 'INSERT' then
        v_changes := array(
            select row(1, n.tenant_id, n.started_at, n.ended_at, n.end_reason)::rollcall.session_change
            from new_sessions n where n.started_at is not null or n.ended_at is not null);
    elsif tg_op = 'DELETE' then
        v_changes := array(
            select row(-1, o.tenant_id, o.started_at, o.ended_at, o.end_reason)::rollcall.session_change
            from old_sessions o where o.started_at is not null or o.ended_at is not null);
    else
        v_changes := array(
            select row(sum(x.sign), x.tenant_id, x.started_at, x.ended_at, x.end_reason)::rollcall.session_change
            from (select -1 as sign, o.tenant_id, o.started_at, o.ended_at, o.end_reason from old_sessions o
                  union all
                  select 1, n.tenant_id, n.started_at, n.ended_at, n.end_reason from new_sessions n) x
            where x.started_at is not null or x.ended_at is not null
            group by x.tenant_id, x.started_at, x.ended_at, x.end_reason
            having sum(x.sign) <> 0);
    end if;
    if cardinality(v_changes) > 0 then
        perform rollcall.apply_session_changes(v_changes, rollcall.usage_shard());
    end if;
    return null;
end
$$;

comment on function rollcall.count_sessions() is 'Trigger: keeps session_stats_day and the histograms in step with sessions.';

do $$
begin
    if not exists (select from pg_catalog.pg_trigger
                   where tgrelid = 'rollcall.sessions'::regclass and tgname = 'sessions_count_insert') then
        create trigger sessions_count_insert after insert on rollcall.sessions
            referencing new table as new_sessions for each statement execute function rollcall.count_sessions();
        create trigger sessions_count_update after update on rollcall.sessions
            referencing old table as old_sessions new table as new_sessions
            for each statement execute function rollcall.count_sessions();
        create trigger sessions_count_delete after delete on rollcall.sessions
            referencing old table as old_sessions for each statement execute function rollcall.count_sessions();
    end if;
end
$$;
