-- Ends what should be over: a safety net beside the timers of the nodes, for pg_cron or an operator. Deletes nothing,
-- and a second call finds nothing to do.
--
-- A session is touched only if every active epoch has attested past its deadline, so no activity before it can still
-- be on the way. A node that is gone for good would block this for ever; see rollcall.epoch_lost_after().
create or replace function rollcall.cleanup_inactive_sessions(
    p_inactivity interval default '1 hour',
    p_limit integer default 1000,
    p_dry_run boolean default false
) returns table (session_id uuid, tenant_id uuid, end_reason text, last_activity_at timestamptz, ended_at timestamptz,
                 spans_closed integer)
    -- What one call ends is little beside what the tables hold, but the planner takes the rows that are open for next to none
    -- and would read a whole table, once for each session. For the same reason rows are found by the list of their sessions and
    -- joined to nothing but a primary key: a join of "next to none" with a list goes through the list once for each row. Planned
    -- each time, because a list is hashed only where the plan knows it.
    language plpgsql volatile set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    v_now timestamptz := clock_timestamp();
    v_candidates uuid[];
    v_locked uuid[];
    v_ids uuid[];
    v_due rollcall.due_session[];
    v_spans_closed integer[];
begin
    perform rollcall.check_may_write('cleanup_inactive_sessions');
    if p_inactivity is null or p_inactivity < interval '0' then
        raise exception 'p_inactivity is %, but must not be negative', coalesce(p_inactivity::text, 'null')
            using errcode = 'invalid_parameter_value', hint = 'For example interval ''1 hour''.';
    end if;
    if p_limit is null or p_limit < 1 then
        raise exception 'p_limit is %, but must be at least 1', coalesce(p_limit::text, 'null')
            using errcode = 'invalid_parameter_value', hint = 'It bounds how many sessions one call ends.';
    end if;
    if p_dry_run then
        return query
            select d.session_id, d.tenant_id, d.end_reason, d.last_activity_at, d.ended_at,
                   (select count(*)::integer from rollcall.participation_spans p
                    where p.session_id = d.session_id and p.disconnected_at is null)
            from rollcall.sessions_due(p_inactivity, v_now, null) d order by d.session_id limit p_limit;
        return;
    end if;

    -- Lock first, judge again afterwards: a statement sees what was committed before it began, and a join may have been
    -- applied while the lock was taken. A session that is being written at this moment is not idle.
    -- None is an empty list: null would mean all sessions.
    v_candidates := array(select d.session_id from rollcall.sessions_due(p_inactivity, v_now, null) d);
    select coalesce(array_agg(l.session_id), '{}') into v_locked from (
        select s.session_id from rollcall.sessions s
        where s.status = 'active' and s.session_id = any (v_candidates)
        order by s.session_id limit p_limit for update skip locked) l;

    -- Set by set, in the lock order of the first migration. Counted apart from the flushers, so none of them waits.
    perform set_config('rollcall.usage_shard', '-1', true);
    select coalesce(array_agg(d order by d.session_id), '{}') into v_due
    from rollcall.sessions_due(p_inactivity, v_now, v_locked) d;
    v_ids := array(select d.session_id from unnest(v_due) d);

    update rollcall.sessions s
    set status = 'ended', ended_at = d.ended_at, end_reason = d.end_reason, version = s.version + 1
    from unnest(v_due) d where s.session_id = d.session_id;
    update rollcall.participants p
    set status = 'left', left_at = greatest(s.ended_at, p.joined_at), leave_reason = 'session_ended'
    from rollcall.sessions s where p.session_id = any (v_ids) and p.status <> 'left' and s.session_id = p.session_id;
    -- At evidence, never at the end of the session: nobody is billed for time not proven.
    with closed as (
        update rollcall.participation_spans p
        set disconnected_at = e.at, end_reason = 'session_ended',
            uncertainty_us = greatest(0, rollcall.us_between(e.at, e.ended_at))
        from (select o.epoch, o.connection, s.ended_at,
                     greatest(o.connected_at, least(o.last_evidence_at, s.ended_at)) as at
              from rollcall.participation_spans o
              join rollcall.sessions s on s.session_id = o.session_id
              where o.session_id = any (v_ids) and o.disconnected_at is null
              order by o.epoch, o.connection for update of o) e
        where p.epoch = e.epoch and p.connection = e.connection
        returning p.session_id
    )
    select array_agg(coalesce(c.closed, 0) order by d.session_id) into v_spans_closed
    from unnest(v_due) d
    left join (select c.session_id, count(*)::integer as closed from closed c group by c.session_id) c using (session_id);

    perform rollcall.log_control_events(
        array_agg(d.tenant_id order by d.place), array_agg(d.session_id order by d.place), 'session_ended', 'server',
        array_agg(jsonb_build_object('reason', d.end_reason, 'source', 'cleanup', 'spans_closed', v_spans_closed[d.place])
                  order by d.place),
        array_agg(d.ended_at order by d.place))
    from unnest(v_due) with ordinality as d (session_id, tenant_id, end_reason, last_activity_at, ended_at, place)
    having count(*) > 0;
    return query
        select d.session_id, d.tenant_id, d.end_reason, d.last_activity_at, d.ended_at, v_spans_closed[d.place]
        from unnest(v_due) with ordinality as d (session_id, tenant_id, end_reason, last_activity_at, ended_at, place)
        order by d.place;
end
$$;

comment on function rollcall.cleanup_inactive_sessions(interval, integer, boolean) is
    'Ends sessions whose deadline passed at least p_inactivity after the last activity; one row per session ended; deletes nothing.';
