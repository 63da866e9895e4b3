-- Checks an installation and fails with every fault it found in one message: whether tables, functions and the most
-- important indexes are there, whether the ledger is protected against changes and has no gaps in its numbers, who may
-- do what, and orphans. It does not compare the definitions of tables and functions with those of a release, does not
-- recompute spans from the ledger, and nothing in it can notice what a superuser hides with care.
--   psql -v ON_ERROR_STOP=1 -f migrations/verify.sql
-- Reads the whole ledger once; run it off-peak on a big one.
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
                          'participation_spans', 'idempotency_keys', 'event_keys', 'applied_functions']) as t
        where to_regclass('rollcall.' || t) is null
        union all
        select format('index rollcall.%s is missing or invalid', i)
        from unnest(array['sessions_external_id_key', 'sessions_active_idx', 'sessions_tenant_created_idx',
                          'participants_pkey', 'participants_identity_idx', 'participation_spans_pkey',
                          'participation_spans_session_idx', 'participation_spans_tenant_idx',
                          'participation_spans_open_idx', 'session_audit_log_pkey', 'session_audit_log_session_idx',
                          'session_audit_log_occurred_idx', 'invites_token_hash_key', 'api_keys_key_hash_key']) as i
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
            'ensure_audit_partitions(integer)', 'touch_last_seen()', 'deny_change()']) as f
        where to_regprocedure('rollcall.' || f) is null
        union all
        select format('function rollcall.%s does not pin its search_path', p.proname)
        from pg_catalog.pg_proc p
        where p.pronamespace = to_regnamespace('rollcall')
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
            union all values ('rollcall.session_audit_log'::regclass::oid), ('rollcall.evidence_marks'::regclass::oid),
                             ('rollcall.refused_records'::regclass::oid)
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
             (select inhrelid::regclass from pg_catalog.pg_inherits
              where inhparent = 'rollcall.session_audit_log'::regclass
              union all values ('rollcall.session_audit_log'::regclass), ('rollcall.evidence_marks'::regclass),
                               ('rollcall.refused_records'::regclass)) as l (t)
        where r.rolname in ('rollcall_server', 'rollcall_billing', 'rollcall_auditor')
          and has_table_privilege(r.oid, t::oid, k)
        union all
        select format('rollcall_billing may %s rollcall.%s', k, t.relname)
        from pg_catalog.pg_class t, unnest(array['insert', 'update', 'delete']) as k
        where t.relnamespace = 'rollcall'::regnamespace and t.relkind in ('r', 'p')
          and has_table_privilege((select oid from pg_catalog.pg_roles where rolname = 'rollcall_billing'), t.oid, k)
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
    raise notice 'rollcall: no faults found';
end
$verify$;
