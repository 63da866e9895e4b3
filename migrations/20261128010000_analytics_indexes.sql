-- With what analytics ask of a session in the index, a month of sessions is read without touching their rows, which lie apart.
drop index rollcall.sessions_tenant_ended_idx;
create index sessions_tenant_ended_idx
    on rollcall.sessions (tenant_id, ended_at) include (started_at, end_reason) where status = 'ended';
drop index rollcall.sessions_duration_idx;
create index sessions_duration_idx
    on rollcall.sessions (rollcall.duration_bin(rollcall.duration_us(started_at, ended_at)), ended_at)
    include (started_at, tenant_id)
    where status = 'ended' and started_at is not null;

-- The same bins without a detour over text, in a fifth of the time: how many of the powers of two from 64 on are not above the
-- duration says by how many places it is shifted.
create or replace function rollcall.duration_shift(p_us bigint) returns integer
    language sql immutable parallel safe as $$
    select pg_catalog.width_bucket(p_us,
                     '{64,128,256,512,1024,2048,4096,8192,16384,32768,65536,131072,262144,524288,1048576,2097152,4194304,8388608,
                     16777216,33554432,67108864,134217728,268435456,536870912,1073741824,2147483648,4294967296,8589934592,
                     17179869184,34359738368,68719476736,137438953472,274877906944,549755813888,1099511627776,2199023255552,
                     4398046511104,8796093022208,17592186044416,35184372088832,70368744177664,140737488355328,281474976710656,
                     562949953421312,1125899906842624,2251799813685248,4503599627370496,9007199254740992,18014398509481984,
                     36028797018963968,72057594037927936,144115188075855872,288230376151711744,576460752303423488,
                     1152921504606846976,2305843009213693952,4611686018427387904}'::bigint[])
$$;
comment on function rollcall.duration_shift(bigint) is 'Internal: the place of the top bit of a duration, counted from the seventh.';
create or replace function rollcall.duration_bin(p_us bigint) returns smallint
    language sql immutable parallel safe as $$
    select (rollcall.duration_shift(p_us) * 32 + (p_us >> rollcall.duration_shift(p_us)))::smallint
$$;
