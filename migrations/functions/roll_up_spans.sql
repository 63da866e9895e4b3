-- Keeps usage in step with the closed spans, in the transaction and statement that closes, moves or removes them. An
-- open span counts for nothing here, so evidence that only raises last_evidence_at costs next to nothing.
create or replace function rollcall.roll_up_spans() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_changes rollcall.span_change[];
begin
    if tg_op = 'INSERT' then
        v_changes := array(
            select row(1, n.epoch, n.connection, n.session_id, n.tenant_id, n.participant_id, n.connected_at,
                       n.disconnected_at, n.uncertainty_us)::rollcall.span_change
            from new_spans n where n.disconnected_at is not null);
    elsif tg_op = 'DELETE' then
        v_changes := array(
            select row(-1, o.epoch, o.connection, o.session_id, o.tenant_id, o.participant_id, o.connected_at,
                       o.disconnected_at, o.uncertainty_us)::rollcall.span_change
            from old_spans o where o.disconnected_at is not null);
    else
        -- A span that stays as it is cancels out.
        v_changes := array(
            select row(sum(x.sign), x.epoch, x.connection, x.session_id, x.tenant_id, x.participant_id, x.connected_at,
                       x.disconnected_at, x.uncertainty_us)::rollcall.span_change
            from (select -1 as sign, o.epoch, o.connection, o.session_id, o.tenant_id, o.participant_id, o.connected_at,
                         o.disconnected_at, o.uncertainty_us
                  from old_spans o where o.disconnected_at is not null
                  union all
                  select 1, n.epoch, n.connection, n.session_id, n.tenant_id, n.participant_id, n.connected_at,
                         n.disconnected_at, n.uncertainty_us
                  from new_spans n where n.disconnected_at is not null) x
            group by x.epoch, x.connection, x.session_id, x.tenant_id, x.participant_id, x.connected_at,
                     x.disconnected_at, x.uncertainty_us
            having sum(x.sign) <> 0);
    end if;
    if cardinality(v_changes) > 0 then
        perform rollcall.apply_span_changes(v_changes, rollcall.usage_shard());
    end if;
    return null;
end
$$;

comment on function rollcall.roll_up_spans() is 'Trigger: keeps coverage and usage in step with the closed spans.';

do $$
begin
    if not exists (select from pg_catalog.pg_trigger
                   where tgrelid = 'rollcall.participation_spans'::regclass
                     and tgname = 'participation_spans_roll_up_insert') then
        create trigger participation_spans_roll_up_insert after insert on rollcall.participation_spans
            referencing new table as new_spans for each statement execute function rollcall.roll_up_spans();
        create trigger participation_spans_roll_up_update after update on rollcall.participation_spans
            referencing old table as old_spans new table as new_spans
            for each statement execute function rollcall.roll_up_spans();
        create trigger participation_spans_roll_up_delete after delete on rollcall.participation_spans
            referencing old table as old_spans for each statement execute function rollcall.roll_up_spans();
    end if;
end
$$;
