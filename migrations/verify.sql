-- Checks an installation and fails with every fault it found in one message. Four parts, each with its own:
--   1. what must be there: tables, indexes, functions, partitions, and functions that pin their search_path
--   2. protection: append-only tables, privileges, row-level security; numbers without gaps; orphans
--   3. the books: every sum recounted from the spans, the spans from the trail, the whole hash chain
--   4. every reading function called, wrong arguments refused, and an attempt to tamper, which must be refused and, with
--      the triggers off, found; all of that is rolled back
-- It does not compare the definitions of tables and functions with those of a release, and nothing in it can notice what a
-- superuser hides with care.
--   psql -v ON_ERROR_STOP=1 -f migrations/verify.sql
-- As the owner. Reads the whole ledger and recounts it; run it off-peak on a big one. Part 4 holds back writers of the audit
-- log while it verifies one batch.
do $verify$
declare
    v_faults text[] := '{}';
    v_missing text;
begin
    -- Objects.
    for v_missing in
        select format('table rollcall.%s is missing', t)
        from unnest(array['tenants', 'api_keys', 'sessions', 'participants', 'participant_pii', 'invites', 'invite_uses',
                          'node_epochs', 'session_audit_log', 'session_audit_log_default', 'evidence_marks', 'refused_records',
                          'participation_spans', 'idempotency_keys', 'event_keys', 'applied_functions',
                          'participant_coverage', 'session_usage_day', 'usage_15m', 'total_15m', 'usage_day',
                          'usage_returns', 'session_stats_day', 'session_durations_day', 'session_duration_bands_day',
                          'total_stats_day', 'total_stats_15m', 'total_durations_day', 'total_duration_bands_day',
                          'total_duration_bands_15m', 'billing_statements',
                          'billing_adjustments', 'audit_batches', 'audit_log_identity', 'audit_checkpoints',
                          'audit_checkpoint_heads', 'audit_detached', 'audit_log_all', 'tenant_logins', 'usage_sinks',
                          'usage_outbox', 'usage_sink_cells']) as t
        where to_regclass('rollcall.' || t) is null
        union all
        select format('index rollcall.%s is missing or invalid', i)
        from unnest(array['sessions_external_id_key', 'sessions_active_idx', 'sessions_tenant_created_idx', 'sessions_awaiting_idx',
                          'participants_pkey', 'participants_identity_idx', 'participation_spans_pkey',
                          'participation_spans_session_idx', 'participation_spans_tenant_idx',
                          'participation_spans_open_idx', 'session_audit_log_pkey', 'session_audit_log_session_idx',
                          'session_audit_log_occurred_idx', 'invites_token_hash_key', 'api_keys_key_hash_key',
                          'session_audit_log_tenant_idx', 'participation_spans_open_tenant_idx',
                          'participation_spans_crashed_idx', 'participant_coverage_tenant_idx',
                          'participant_coverage_day_idx', 'session_usage_day_tenant_idx', 'usage_day_day_idx',
                          'session_usage_day_lasting_idx',
                          'session_usage_day_return_idx', 'usage_returns_bucket_idx',
                          'sessions_tenant_started_idx', 'sessions_tenant_ended_idx', 'sessions_duration_idx',
                          'session_stats_day_day_idx', 'audit_batches_committed_idx', 'audit_checkpoint_heads_epoch_idx',
                          'usage_outbox_slice_idx', 'usage_outbox_event_key', 'usage_outbox_reverses_key']) as i
        where not exists (select from pg_catalog.pg_index x
                          where x.indexrelid = to_regclass('rollcall.' || i) and x.indisvalid)
        union all
        select format('function rollcall.%s is missing', f)
        from unnest(array[
            'log_session_event(uuid,text,uuid,jsonb,text)',
            'log_control_event(uuid,uuid,uuid,text,text,jsonb,timestamptz,text)',
            'cleanup_inactive_sessions(interval,integer,boolean)',
            'get_session_billing_data(uuid,timestamptz,timestamptz,text,interval)',
            'get_usage(uuid,timestamptz,timestamptz,text,text,text,interval)',
            'get_session_analytics(timestamptz,timestamptz,uuid,text,text)',
            'presence_at(uuid,timestamptz)', 'time_together(uuid,uuid,uuid)', 'get_billing_watermark()',
            'ensure_audit_partitions(integer)', 'touch_last_seen()', 'deny_change()', 'roll_up_spans()', 'count_sessions()',
            'coverage_of(uuid,uuid,boolean)', 'recompute_billing(uuid,timestamptz,timestamptz)',
            'compare_spans_with_trail(uuid,timestamptz,timestamptz)', 'close_billing_period(uuid,timestamptz,timestamptz)',
            'verify_audit_chain(bigint,timestamptz)', 'verify_audit_triggers()', 'detach_audit_partitions(integer,boolean)',
            'seal_audit_batch(bigint,bigint,bigint,bytea,timestamptz,timestamptz)', 'seal_control_events(integer)',
            'erase_identity(uuid,text,text)', 'usage_slices(uuid,timestamptz,timestamptz,text,text)',
            'add_usage_sink(text,timestamptz,uuid,text,text)', 'fill_usage_outbox(text,integer)',
            'correct_usage_outbox(text)', 'acknowledge_usage(text,bigint)', 'scope_tenant_id()']) as f
        where to_regprocedure('rollcall.' || f) is null
        union all
        select format('function rollcall.%s does not pin its search_path', p.proname)
        from pg_catalog.pg_proc p
        where p.pronamespace = to_regnamespace('rollcall')
          and p.proname not in ('is_passive_event', 'is_app_event', 'epoch_lost_after', 'us_between', 'round_usage',
                                'duration_us', 'duration_bin', 'duration_shift')
          -- Bodies in the standard's form resolve their names when they are made.
          and p.prosqlbody is null
          and not exists (select from unnest(p.proconfig) c where c like 'search_path=%')
        union all
        select format('there is no audit partition for %s', to_char(m, 'YYYY-MM'))
        from (values (clock_timestamp() at time zone 'UTC'),
                     (clock_timestamp() at time zone 'UTC' + interval '1 month')) as v (m)
        where to_regclass('rollcall.session_audit_log_y' || to_char(m, 'YYYY"m"MM')) is null
    loop
        v_faults := v_faults || v_missing;
    end loop;
    if cardinality(v_faults) > 0 then
        raise exception e'the installation is not complete:\n%', array_to_string(v_faults, e'\n')
            using hint = 'Run: rollcall migrate';
    end if;

    -- Append-only, on every partition, even for replication.
    for v_missing in
        with ledger as (
            select inhrelid as oid from pg_catalog.pg_inherits where inhparent = 'rollcall.session_audit_log'::regclass
            union all
            select to_regclass('rollcall.' || t)::oid
            from unnest(array['session_audit_log', 'evidence_marks', 'refused_records', 'audit_batches', 'audit_log_identity',
                              'audit_checkpoints', 'audit_checkpoint_heads', 'audit_detached', 'billing_statements',
                              'billing_adjustments', 'usage_outbox']) as t
        ), wanted (kind, bits) as (
            -- Bits of pg_trigger.tgtype: 1 row, 2 before, 8 delete, 16 update, 32 truncate.
            values ('update and delete', 1 + 2 + 8 + 16), ('truncate', 2 + 32)
        )
        select format('%s of %s is not denied (trigger missing or not ENABLE ALWAYS)', w.kind, l.oid::regclass)
        from ledger l cross join wanted w
        where not exists (
            select from pg_catalog.pg_trigger t
            where t.tgrelid = l.oid and t.tgenabled = 'A' and t.tgfoid = 'rollcall.deny_change()'::regprocedure
              and t.tgtype & w.bits = w.bits and t.tgqual is null)
        union all
        select 'last_seen_at is not kept by the audit log (trigger session_audit_log_touch)'
        where not exists (
            select from pg_catalog.pg_trigger t
            where t.tgrelid = 'rollcall.session_audit_log'::regclass and t.tgenabled = 'A'
              and t.tgfoid = 'rollcall.touch_last_seen()'::regprocedure)
        union all
        select format('%s does not keep the sums in step (trigger missing or disabled)', w.trigger)
        from (values ('participation_spans', 'participation_spans_roll_up_insert', 'roll_up_spans'),
                     ('participation_spans', 'participation_spans_roll_up_update', 'roll_up_spans'),
                     ('participation_spans', 'participation_spans_roll_up_delete', 'roll_up_spans'),
                     ('sessions', 'sessions_count_insert', 'count_sessions'),
                     ('sessions', 'sessions_count_update', 'count_sessions'),
                     ('sessions', 'sessions_count_delete', 'count_sessions')) as w (relname, trigger, function)
        where not exists (
            select from pg_catalog.pg_trigger t
            where t.tgrelid = to_regclass('rollcall.' || w.relname) and t.tgname = w.trigger and t.tgenabled in ('O', 'A')
              and t.tgfoid = to_regprocedure('rollcall.' || w.function || '()'))
        -- Row-level security: on every table with a tenant, and with a policy for each of our roles that is there.
        union all
        select format('row-level security of rollcall.%s is off', c.relname)
        from pg_catalog.pg_class c
        join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
        where c.relnamespace = 'rollcall'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and not c.relrowsecurity
        union all
        select format('rollcall.%s has no policy for %s', c.relname, r.rolname)
        from pg_catalog.pg_class c
        cross join pg_catalog.pg_roles r
        where c.relnamespace = 'rollcall'::regnamespace and c.relkind in ('r', 'p') and c.relrowsecurity
          and r.rolname in ('rollcall_server', 'rollcall_billing', 'rollcall_auditor')
          and not exists (select from pg_catalog.pg_policy p where p.polrelid = c.oid and r.oid = any (p.polroles))
        union all
        select format('%s may bypass row-level security', r.rolname)
        from pg_catalog.pg_roles r
        where r.rolname in ('rollcall_server', 'rollcall_billing', 'rollcall_auditor') and (r.rolbypassrls or r.rolsuper)
        -- Privileges.
        union all
        select format('%s may use schema rollcall', r)
        from unnest(array['anon', 'authenticated']) as r
        where exists (select from pg_catalog.pg_roles where rolname = r)
          and exists (select from pg_catalog.pg_namespace n, aclexplode(n.nspacl) a
                      where n.nspname = 'rollcall' and a.grantee = (select oid from pg_catalog.pg_roles where rolname = r))
        union all
        select format('PUBLIC has %s on schema rollcall', a.privilege_type)
        from pg_catalog.pg_namespace n, aclexplode(n.nspacl) a
        where n.nspname = 'rollcall' and a.grantee = 0
        union all
        select format('PUBLIC may %s %s', a.privilege_type, c.oid::regclass)
        from pg_catalog.pg_class c, aclexplode(c.relacl) a
        where c.relnamespace = 'rollcall'::regnamespace and a.grantee = 0
        union all
        select format('PUBLIC may execute %s', p.oid::regprocedure)
        from pg_catalog.pg_proc p
        where p.pronamespace = 'rollcall'::regnamespace and p.prorettype <> 'trigger'::regtype
          and (p.proacl is null or exists (select from aclexplode(p.proacl) a where a.grantee = 0))
        union all
        select format('%s may %s %s', r.rolname, k, t)
        from pg_catalog.pg_roles r, unnest(array['update', 'delete', 'truncate']) as k,
             (select distinct g.tgrelid::regclass from pg_catalog.pg_trigger g
              where g.tgfoid = 'rollcall.deny_change()'::regprocedure) as l (t)
        where r.rolname in ('rollcall_server', 'rollcall_billing', 'rollcall_auditor')
          and has_table_privilege(r.oid, t::oid, k)
        union all
        select format('%s may %s rollcall.%s', r.rolname, k, t.relname)
        from pg_catalog.pg_class t, unnest(array['insert', 'update', 'delete', 'truncate']) as k, pg_catalog.pg_roles r
        where t.relnamespace = 'rollcall'::regnamespace and t.relkind in ('r', 'p')
          and r.rolname in ('rollcall_billing', 'rollcall_auditor') and has_table_privilege(r.oid, t.oid, k)
        union all
        select format('%s may read rollcall.%s', r.rolname, t)
        from unnest(array['api_keys', 'participant_pii', 'idempotency_keys', 'event_keys', 'invites', 'invite_uses']) as t,
             pg_catalog.pg_roles r
        where r.rolname in ('rollcall_billing', 'rollcall_auditor')
          and has_any_column_privilege(r.oid, to_regclass('rollcall.' || t), 'select')
        -- The ledger: in each epoch every number up to applied_seq once and none missing.
        union all
        select format('epoch %s: %s records applied, but %s found, numbered %s to %s', n.epoch, n.applied_seq,
                      coalesce(r.count, 0), coalesce(r.first, 0), coalesce(r.last, 0))
        from rollcall.node_epochs n
        left join (select epoch, count(*) as count, count(distinct seq) as numbers, min(seq) as first, max(seq) as last
                   from (select epoch, seq from rollcall.session_audit_log
                         union all select epoch, seq from rollcall.evidence_marks
                         union all select epoch, seq from rollcall.refused_records) x
                   group by epoch) r using (epoch)
        where (n.applied_seq, n.applied_seq, n.applied_seq) is distinct from
              (coalesce(r.count, 0), coalesce(r.numbers, 0), coalesce(r.last, 0))
           or (n.applied_seq > 0 and r.first <> 1)
        union all
        select format('%s rows of the ledger belong to no epoch', count(*))
        from (select epoch from rollcall.session_audit_log union all select epoch from rollcall.evidence_marks
              union all select epoch from rollcall.refused_records) x
        where not exists (select from rollcall.node_epochs n where n.epoch = x.epoch)
        having count(*) > 0
        -- A closing socket may be on the way from an active node for a while; a finished one has nothing more to say.
        union all
        select format('connection %s-%s is open, but its session %s has ended', s.epoch, s.connection, s.session_id)
        from rollcall.participation_spans s
        join rollcall.sessions e using (session_id)
        join rollcall.node_epochs n on n.epoch = s.epoch
        where s.disconnected_at is null and e.status = 'ended'
          and (n.state <> 'active' or n.attested_until > e.ended_at + interval '5 minutes')
        -- Nor would the watermark wait for it.
        union all
        select format('connection %s-%s is open in session %s, which has ended, but awaits_closes does not say so',
                      s.epoch, s.connection, s.session_id)
        from rollcall.participation_spans s
        join rollcall.sessions e using (session_id)
        where s.disconnected_at is null and e.status = 'ended' and not e.awaits_closes
        union all
        select format('connection %s-%s is open and has no evidence after %s, but epoch %s says that none is before %s', s.epoch,
                      s.connection, greatest(s.last_evidence_at, s.connected_at), s.epoch, n.open_evidence_from)
        from rollcall.node_epochs n
        join rollcall.participation_spans s on s.epoch = n.epoch and s.disconnected_at is null
        where n.state = 'active' and greatest(s.last_evidence_at, s.connected_at) < n.open_evidence_from
        union all
        select format('participant %s is present in session %s, which has ended', p.participant_id, p.session_id)
        from rollcall.participants p
        join rollcall.sessions e using (session_id)
        where p.status <> 'left' and e.status = 'ended'
          and not exists (select from rollcall.node_epochs n
                          where n.state = 'active' and n.attested_until <= e.ended_at + interval '5 minutes')
        -- Orphans, because the tables of the flusher have no foreign keys.
        union all
        select format('%s participants belong to no session', count(*)) from rollcall.participants p
        where not exists (select from rollcall.sessions s where s.session_id = p.session_id) having count(*) > 0
        union all
        select format('%s spans belong to no participant', count(*)) from rollcall.participation_spans s
        where not exists (select from rollcall.participants p
                          where p.session_id = s.session_id and p.participant_id = s.participant_id)
        having count(*) > 0
        union all
        select format('%s invites have a wrong number of uses', count(*)) from rollcall.invites i
        where i.uses <> (select count(*) from rollcall.invite_uses u where u.invite_id = i.invite_id)
        having count(*) > 0
    loop
        v_faults := v_faults || v_missing;
    end loop;
    if cardinality(v_faults) > 0 then
        raise exception e'the installation has % fault(s):\n%', cardinality(v_faults), array_to_string(v_faults, e'\n');
    end if;
end
$verify$;

-- The books: whatever is counted is what the spans say, the spans are what the trail says, and the trail is what was sealed.
do $verify$
declare
    v_faults text[];
begin
    select array_agg(fault) into v_faults
    from (select format('recount: %s, session %s, participant %s, day %s: stored %s, recounted %s', r.what, r.session_id,
                        r.participant_id, r.day, r.stored, r.recomputed) as fault
          from (select min(x.at) as from_at, max(x.at) + interval '1 day' as to_at
                from (select s.connected_at as at from rollcall.participation_spans s
                      union all select s.disconnected_at from rollcall.participation_spans s
                      union all select u.day from rollcall.usage_day u
                      union all select d.day from rollcall.session_stats_day d) x) p,
               lateral rollcall.recompute_billing(null, p.from_at, p.to_at) r
          where p.from_at is not null
          union all
          select format('chain: epoch %s, record %s: %s', c.epoch, c.seq, c.problem)
          from rollcall.verify_audit_chain() c where c.severity = 'error'
          limit 100) x;
    if cardinality(v_faults) > 0 then
        raise exception e'the books have % fault(s) or more:\n%', cardinality(v_faults), array_to_string(v_faults, e'\n');
    end if;
end
$verify$;

-- Every reading function runs on what is there, and refuses nonsense with a sentence and a hint.
do $verify$
declare
    v_session record;
    v_now constant timestamptz := clock_timestamp();
    v_call text;
    v_hint text;
begin
    select s.session_id, s.tenant_id, coalesce(s.started_at, s.created_at) as at,
           coalesce((select p.participant_id from rollcall.participants p where p.session_id = s.session_id limit 1),
                    s.session_id) as participant_id
    into v_session
    from rollcall.sessions s order by s.started_at is null, s.created_at desc limit 1;
    if v_session.session_id is not null then
        foreach v_call in array array[
            'get_session_billing_data($1)', 'presence_at($1, $3)', 'time_together($1, $4, $4)', 'coverage_of($1, $4)',
            $c$get_usage($2, $3 - interval '30 days', $5, 'day', 'Asia/Kathmandu', 'minute_per_session')$c$,
            $c$get_usage(null, $3 - interval '30 days', $5, 'tenant')$c$,
            $c$get_session_analytics($3 - interval '30 days', $5, $2, 'week', 'America/New_York')$c$,
            $c$get_session_analytics($3 - interval '30 days', $5)$c$,
            $c$usage_slices($2, $3 - interval '30 days', $5, 'day', 'UTC')$c$, 'get_billing_watermark()',
            'cleanup_inactive_sessions(p_dry_run => true)', 'verify_audit_triggers()', 'verify_audit_checkpoints()']
        loop
            execute format('select count(*) from rollcall.%s', v_call)
                using v_session.session_id, v_session.tenant_id, v_session.at, v_session.participant_id, v_now;
        end loop;
    end if;
    foreach v_call in array array[
        $c$get_session_billing_data('00000000-0000-0000-0000-000000000000')$c$,
        $c$get_usage(null, now(), now() - interval '1 day', 'tenant')$c$,
        $c$get_session_analytics(now() - interval '1 day', now(), null, 'day', 'Mars/Olympus_Mons')$c$,
        $c$log_session_event('00000000-0000-0000-0000-000000000000', 'note')$c$]
    loop
        begin
            execute format('select count(*) from rollcall.%s', v_call);
        exception when others then
            get stacked diagnostics v_hint = pg_exception_hint;
            if v_hint = '' then
                raise exception '% is refused without a hint: %', v_call, sqlerrm;
            end if;
            continue;
        end;
        raise exception '% is not refused', v_call;
    end loop;
end
$verify$;

-- An attempt to tamper. The inner blocks end with an exception, so that nothing of it stays.
do $verify$
declare
    v_record record;
    v_call text;
    v_found boolean := false;
begin
    perform set_config('lock_timeout', '5s', true);
    -- The last record of the smallest epoch.
    select a.epoch, a.seq, a.occurred_at into v_record
    from rollcall.session_audit_log a
    where a.epoch = (select n.epoch from rollcall.node_epochs n
                     where exists (select from rollcall.session_audit_log x where x.epoch = n.epoch)
                     order by n.applied_seq, n.epoch limit 1)
    order by a.seq desc limit 1;
    if v_record.epoch is null then
        raise notice 'rollcall: no faults found; the trail is empty, so nobody tried to tamper with it';
        return;
    end if;
    foreach v_call in array array[
        'update rollcall.session_audit_log set actor = actor where occurred_at = $3 and epoch = $1 and seq = $2',
        'delete from rollcall.session_audit_log where occurred_at = $3 and epoch = $1 and seq = $2',
        'truncate rollcall.session_audit_log']
    loop
        begin
            execute v_call using v_record.epoch, v_record.seq, v_record.occurred_at;
            raise exception using errcode = 'RC001', message = format('the trail can be changed: %s', v_call);
        exception
            when sqlstate 'RC001' then raise;
            when lock_not_available then
                raise exception 'the trail was in use for 5 s: %', v_call using hint = 'Run this again at a calm time.';
            when others then null;
        end;
    end loop;
    begin
        alter table rollcall.session_audit_log disable trigger session_audit_log_append_only;
        execute 'update rollcall.session_audit_log set actor = actor || ''x'' where occurred_at = $3 and epoch = $1 and seq = $2'
            using v_record.epoch, v_record.seq, v_record.occurred_at;
        v_found := exists (select from rollcall.verify_audit_chain(v_record.epoch) c
                           where c.severity = 'error' and c.epoch = v_record.epoch);
        raise exception using errcode = 'RC002', message = 'rolled back';
    exception
        when sqlstate 'RC002' then null;
        when lock_not_available then
            raise exception 'the trail was in use for 5 s' using hint = 'Run this again at a calm time.';
    end;
    if not v_found then
        raise exception 'a changed record of epoch % was not found by verify_audit_chain()', v_record.epoch;
    end if;
    raise notice 'rollcall: no faults found';
end
$verify$;
