// Generated from crates/protocol by its tests; ROLLCALL_UPDATE=1 cargo test -p rollcall-protocol writes it.

/**
 * One decoded frame.
 */
export type ClientMessage = { "type": "join" } & JoinRequest | { "type": "ping" } & PingRequest | { "type": "update" } & UpdateRequest | { "type": "leave" } | { "type": "snapshot" } | { "type": "end" } & EndRequest | { "type": "extend" } & ExtendRequest | { "type": "kick" } & KickRequest;

/**
 * First frame of every socket.
 */
export type JoinRequest = { 
/**
 * Invite token, JWT or resume token.
 */
token: string, 
/**
 * Counts only where the token does not fix one.
 */
identity?: string, name?: string, 
/**
 * The app's own state, any JSON value.
 */
state?: unknown, client?: ClientInfo, };

/**
 * What the client says of itself.
 */
export type ClientInfo = { 
/**
 * On a resume: how many milliseconds ago the client saw its old socket close. After a crash of the server the old
 * span is extended by this testimony, never beyond what the crashed server itself had on record.
 */
closed_ms_ago?: number, 
/**
 * Name and version of the client library, for logs.
 */
library?: string, };

export type PingRequest = { 
/**
 * Echoed in the pong as it is: a JSON string or number of at most [`PING_ID_BYTES_MAX`] bytes.
 */
id?: string | number, 
/**
 * `true`: the person is active. `false`: the person does not see the page. Absent: says nothing about the person.
 */
active?: boolean, };

export type UpdateRequest = { state: unknown, };

export type EndRequest = { 
/**
 * Free text for the audit trail.
 */
reason?: string, };

export type ExtendRequest = { by_s: number, };

export type KickRequest = { participant_id: string, };

export type ServerMessage = { "type": "joined" } & JoinedMessage | { "type": "presence", seq: number, joins: Array<Participant>, updates: Array<Participant>, leaves: Array<Leave>, } | { "type": "snapshot", seq: number, participants: Array<Participant>, } | { "type": "pong", id?: string | number, server_time: string, } | { "type": "warning", code: string, ends_at: string, in_ms: number, message: string, } | { "type": "extended", ends_at: string, } | { "type": "ended", code: string, message: string, 
/**
 * What a developer or operator does next.
 */
hint: string, recoverable: boolean, } | { "type": "error" } & ErrorMessage;

/**
 * The answer to a join. Sent only after the join is durable.
 */
export type JoinedMessage = { session: SessionInfo, self: OwnInfo, 
/**
 * Token to come back as the same participant.
 */
resume: string, ping_interval_ms: number, seq: number, participants: Array<Participant>, 
/**
 * `local`: on this server's disk. `postgres`: in the database.
 */
durability: string, server_time: string, };

export type SessionInfo = { id: string, title: string | null, created_at: string, 
/**
 * When the session ends if nobody is active from now on.
 */
ends_at: string, };

export type OwnInfo = { participant_id: string, connection_id: string, identity: string, role: string, };

export type Participant = { participant_id: string, identity: string, 
/**
 * Whether the token fixed the identity; false where the client chose it.
 */
verified: boolean, name: string | null, role: string, 
/**
 * `active`, `away` or `reconnecting`.
 */
status: "active" | "away" | "reconnecting", state: unknown, connections: number, joined_at: string, last_seen_at: string, };

export type Leave = { participant_id: string, reason: string, };

export type ErrorMessage = { code: ErrorCode, 
/**
 * A sentence that may be shown to a visitor.
 */
message: string, 
/**
 * What a developer or operator does next.
 */
hint: string, retry: Retry, retry_after_ms?: number, };

/**
 * What a client should do after an error.
 */
export type Retry = "never" | "refresh" | "later";

/**
 * Every public error code, on the socket and in HTTP problems.
 */
export type ErrorCode = "session_ended" | "kicked" | "invite_expired" | "invite_revoked" | "invite_used_up" | "invite_not_yet_valid" | "session_not_found" | "session_full" | "token_invalid" | "join_required" | "message_too_big" | "binary_refused" | "protocol_violation" | "replaced" | "origin_refused" | "token_expired" | "restarting" | "liveness_timeout" | "slow_consumer" | "rate_limited" | "overloaded" | "malformed_frame" | "unknown_type" | "already_joined" | "state_too_large" | "forbidden" | "participant_not_found" | "unauthorized" | "not_found" | "method_not_allowed" | "invalid_request" | "unsupported_media_type" | "payload_too_large" | "conflict" | "session_not_ended" | "recovery_window_over" | "idempotency_key_reused" | "request_in_progress" | "database_unavailable" | "internal";
