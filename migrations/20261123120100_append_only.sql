-- The audit trail is append-only, enforced by the database itself.

-- Belongs to the tables and not to migrations/functions: the triggers below need it from the first moment on.
create function rollcall.deny_change() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '% on %.% is not allowed: the ledger is append-only', tg_op, tg_table_schema, tg_table_name
        using errcode = 'restrict_violation',
              hint = 'Record a correcting event with rollcall.log_session_event(); old months are detached, not deleted.';
end
$$;
comment on function rollcall.deny_change() is 'Trigger: refuses every change of an append-only table.';

-- ENABLE ALWAYS, or "set session_replication_role = replica" would switch the triggers off.
-- Row triggers are inherited by partitions, TRUNCATE triggers are not: ensure_audit_partitions() gives each its own.
create trigger session_audit_log_append_only before update or delete on rollcall.session_audit_log
    for each row execute function rollcall.deny_change();
create trigger session_audit_log_no_truncate before truncate on rollcall.session_audit_log
    for each statement execute function rollcall.deny_change();
create trigger session_audit_log_no_truncate before truncate on rollcall.session_audit_log_default
    for each statement execute function rollcall.deny_change();
alter table rollcall.session_audit_log enable always trigger session_audit_log_append_only;
alter table rollcall.session_audit_log enable always trigger session_audit_log_no_truncate;
alter table rollcall.session_audit_log_default enable always trigger session_audit_log_append_only;
alter table rollcall.session_audit_log_default enable always trigger session_audit_log_no_truncate;

create trigger evidence_marks_append_only before update or delete on rollcall.evidence_marks
    for each row execute function rollcall.deny_change();
create trigger evidence_marks_no_truncate before truncate on rollcall.evidence_marks
    for each statement execute function rollcall.deny_change();
alter table rollcall.evidence_marks enable always trigger evidence_marks_append_only;
alter table rollcall.evidence_marks enable always trigger evidence_marks_no_truncate;

create trigger refused_records_append_only before update or delete on rollcall.refused_records
    for each row execute function rollcall.deny_change();
create trigger refused_records_no_truncate before truncate on rollcall.refused_records
    for each statement execute function rollcall.deny_change();
alter table rollcall.refused_records enable always trigger refused_records_append_only;
alter table rollcall.refused_records enable always trigger refused_records_no_truncate;
