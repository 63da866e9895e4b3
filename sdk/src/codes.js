// Generated from crates/protocol by its tests; ROLLCALL_UPDATE=1 cargo test -p rollcall-protocol writes it.

/**
 * Every public error code: the close code that follows it on a socket (or null), what a client does next, a
 * sentence for the visitor and a hint for the developer.
 *
 * @type {Readonly<Record<import("./protocol.d.ts").ErrorCode, {close: number | null, retry: import("./protocol.d.ts").Retry, message: string, hint: string}>>}
 */
export const codes = {
  session_ended: {"close":4000,"hint":"Recover the session within the recovery window, or create a new one.","message":"This session has ended.","retry":"never"},
  kicked: {"close":4001,"hint":"The participant was removed by a host or the API; it cannot come back under the same identity.","message":"You have been removed from this session.","retry":"never"},
  invite_expired: {"close":4002,"hint":"Create a new invite; `expires_in_s` sets how long it is good.","message":"This invite link has expired. Please ask for a new one.","retry":"never"},
  invite_revoked: {"close":4003,"hint":"Create a new invite if the visitor should come in.","message":"This invite link has been withdrawn. Please ask for a new one.","retry":"never"},
  invite_used_up: {"close":4004,"hint":"Create an invite with a higher `max_uses`.","message":"This invite link has already been used as often as it may be. Please ask for a new one.","retry":"never"},
  invite_not_yet_valid: {"close":4005,"hint":"The invite has a `not_before` in the future.","message":"This invite link is not valid yet. Please come back at the agreed time.","retry":"never"},
  session_not_found: {"close":4006,"hint":"Check the session id, and that the key belongs to the same tenant.","message":"This session does not exist or has ended.","retry":"never"},
  session_full: {"close":4007,"hint":"Raise `max_participants`, or wait until somebody has left and the grace period is over.","message":"This session is full.","retry":"never"},
  token_invalid: {"close":4008,"hint":"Use an invite token, a resume token or a JWT signed with a key of the tenant; check for cut-off characters.","message":"This link or token is not valid.","retry":"never"},
  join_required: {"close":4009,"hint":"The first frame must be `join`, within the first-frame timeout.","message":"The connection was closed because it did not join.","retry":"never"},
  message_too_big: {"close":4009,"hint":"Keep frames and messages below the limits in docs/PROTOCOL.md.","message":"The connection was closed because a message was too big.","retry":"never"},
  binary_refused: {"close":4009,"hint":"`rollcall.v1` is JSON in text frames.","message":"The connection was closed because it sent binary data.","retry":"never"},
  protocol_violation: {"close":4009,"hint":"Check the frames against docs/PROTOCOL.md.","message":"The connection was closed because it did not follow the protocol.","retry":"never"},
  replaced: {"close":4010,"hint":"The same client came back on a new socket, or the participant had too many open; do not reconnect this one.","message":"You continued in another window or on another device.","retry":"never"},
  origin_refused: {"close":4011,"hint":"Add the page's origin to `ws.origins`.","message":"This website may not open this session.","retry":"never"},
  token_expired: {"close":4100,"hint":"Mint a fresh token and join again.","message":"Your access has expired. Please sign in again.","retry":"refresh"},
  restarting: {"close":4200,"hint":"Reconnect with the resume token after `retry_after_ms`.","message":"The server is restarting. You will be reconnected in a moment.","retry":"later"},
  liveness_timeout: {"close":4201,"hint":"Send a ping every `ping_interval_ms`.","message":"The connection was lost.","retry":"later"},
  slow_consumer: {"close":4202,"hint":"Read frames as they come; on return the join brings a full snapshot.","message":"The connection was too slow.","retry":"later"},
  rate_limited: {"close":4203,"hint":"Slow down and wait for `retry_after_ms` or `Retry-After`.","message":"Too many requests. Please wait a moment.","retry":"later"},
  overloaded: {"close":4204,"hint":"The server or its ledger is at a limit; see /readyz and docs/OPERATIONS.md.","message":"The server cannot take anybody in right now. Please try again shortly.","retry":"later"},
  malformed_frame: {"close":null,"hint":"Send one JSON object per text frame with a text field `type`.","message":"A message could not be understood.","retry":"never"},
  unknown_type: {"close":null,"hint":"See docs/PROTOCOL.md for the types a client may send.","message":"A message could not be understood.","retry":"never"},
  already_joined: {"close":null,"hint":"One session per socket: open another socket to join again.","message":"You are already in this session.","retry":"never"},
  state_too_large: {"close":null,"hint":"Keep `state` below the limit in docs/PROTOCOL.md.","message":"The update was too large.","retry":"never"},
  forbidden: {"close":null,"hint":"The role or the key's scopes do not permit it.","message":"You are not allowed to do this.","retry":"never"},
  participant_not_found: {"close":null,"hint":"Check the participant id; it must be present in this session.","message":"This participant is not here.","retry":"never"},
  unauthorized: {"close":null,"hint":"Send `Authorization: Bearer <api key>` with a key that is not revoked.","message":"The request is not authorized.","retry":"never"},
  not_found: {"close":null,"hint":"Check the path and the id, and that the key belongs to the same tenant.","message":"There is nothing here.","retry":"never"},
  method_not_allowed: {"close":null,"hint":"See /docs for the methods of this path.","message":"This is not possible here.","retry":"never"},
  invalid_request: {"close":null,"hint":"Correct the fields named in `errors`.","message":"The request is not valid.","retry":"never"},
  unsupported_media_type: {"close":null,"hint":"Send `Content-Type: application/json`.","message":"The request is not valid.","retry":"never"},
  payload_too_large: {"close":null,"hint":"Keep the body below the limit named in the detail.","message":"The request is too large.","retry":"never"},
  conflict: {"close":null,"hint":"Read the object again and decide anew.","message":"This does not fit the present state.","retry":"never"},
  session_not_ended: {"close":null,"hint":"Only an ended session can be recovered.","message":"This session has not ended.","retry":"never"},
  recovery_window_over: {"close":null,"hint":"Create a new session; `sessions.recover_window_h` sets the window.","message":"This session ended too long ago to be brought back.","retry":"never"},
  idempotency_key_reused: {"close":null,"hint":"Use a new Idempotency-Key for a different request.","message":"The request is not valid.","retry":"never"},
  request_in_progress: {"close":null,"hint":"Repeat it with the same Idempotency-Key in a moment.","message":"The same request is still being worked on.","retry":"later"},
  database_unavailable: {"close":null,"hint":"Postgres cannot be reached; those inside a session are still served. See /readyz.","message":"The service is not available right now. Please try again shortly.","retry":"later"},
  internal: {"close":null,"hint":"Quote the request_id to the operator.","message":"Something went wrong on our side.","retry":"later"},
};
