-- Says who may do what was tried, before Postgres says only what may not be done.
create or replace function rollcall.check_may_write(p_function text) returns void
    language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if not has_table_privilege('rollcall.session_audit_log', 'insert') then
        raise exception 'role "%" may not call %', current_user, p_function
            using errcode = 'insufficient_privilege',
                  hint = 'It writes to the ledger: connect as the owner of schema rollcall or as a member of rollcall_server. rollcall_billing and rollcall_auditor read only.';
    end if;
    if current_setting('transaction_read_only') = 'on' then
        raise exception '% writes to the ledger, but this transaction is read-only', p_function
            using errcode = 'read_only_sql_transaction',
                  hint = 'set transaction read write; or, for the whole connection, set default_transaction_read_only = off.';
    end if;
end
$$;

comment on function rollcall.check_may_write(text) is
    'Internal: refuses a role or a transaction that may not write, with a sentence that helps.';
