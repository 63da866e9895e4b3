-- The leaf hash of one row of the audit log: SHA-256(0x00 | version 1 | kind 1 | fields), each field as its length in four
-- bytes and its value, an absent one only as ffffffff. The server computes the same in crates/core/src/chain/entry.rs, and
-- tests compare them. Bodies of this form resolve names when they are made, so a search_path cannot mislead them, and
-- Postgres can inline them. Two are stable only because convert_to() is: it does not inline what claims more than its body
-- keeps, and then the call takes three times as long as the hash.
create or replace function rollcall.audit_field(p_value bytea) returns bytea
    language sql immutable parallel safe
    return coalesce(int4send(octet_length(p_value)) || p_value, '\xffffffff'::bytea);

comment on function rollcall.audit_field(bytea) is 'Internal: one field of a hashed entry, with its length.';

create or replace function rollcall.audit_leaf(
    p_epoch bigint, p_seq bigint, p_occurred_at timestamptz, p_tenant_id uuid, p_session_id uuid, p_participant_id uuid,
    p_connection text, p_event_type text, p_actor text, p_metadata jsonb
) returns bytea
    language sql stable parallel safe
    return sha256('\x000101'::bytea
        || '\x00000008'::bytea || int8send(p_epoch)
        || '\x00000008'::bytea || int8send(p_seq)
        || '\x00000008'::bytea || timestamptz_send(p_occurred_at)
        || '\x00000010'::bytea || uuid_send(p_tenant_id)
        || coalesce('\x00000010'::bytea || uuid_send(p_session_id), '\xffffffff'::bytea)
        || coalesce('\x00000010'::bytea || uuid_send(p_participant_id), '\xffffffff'::bytea)
        || rollcall.audit_field(convert_to(p_connection, 'UTF8'))
        || rollcall.audit_field(convert_to(p_event_type, 'UTF8'))
        || rollcall.audit_field(convert_to(p_actor, 'UTF8'))
        || '\x00000020'::bytea || sha256(convert_to(p_metadata::text, 'UTF8')));

comment on function rollcall.audit_leaf(bigint, bigint, timestamptz, uuid, uuid, uuid, text, text, text, jsonb) is
    'The leaf hash of one row of session_audit_log, over every column but recorded_at.';

create or replace function rollcall.audit_mark_leaf(
    p_epoch bigint, p_seq bigint, p_marked_at timestamptz, p_connections integer
) returns bytea
    language sql immutable parallel safe
    return sha256('\x000102'::bytea
        || '\x00000008'::bytea || int8send(p_epoch)
        || '\x00000008'::bytea || int8send(p_seq)
        || '\x00000008'::bytea || timestamptz_send(p_marked_at)
        || '\x00000004'::bytea || int4send(p_connections));

comment on function rollcall.audit_mark_leaf(bigint, bigint, timestamptz, integer) is
    'The leaf hash of one row of evidence_marks.';

create or replace function rollcall.audit_refused_leaf(p_epoch bigint, p_seq bigint, p_body bytea, p_error text) returns bytea
    language sql stable parallel safe
    return sha256('\x000103'::bytea
        || '\x00000008'::bytea || int8send(p_epoch)
        || '\x00000008'::bytea || int8send(p_seq)
        || '\x00000020'::bytea || sha256(p_body)
        || rollcall.audit_field(convert_to(p_error, 'UTF8')));

comment on function rollcall.audit_refused_leaf(bigint, bigint, bytea, text) is
    'The leaf hash of one row of refused_records, over every column but refused_at.';
