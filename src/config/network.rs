//! The parts that face the network: WebSocket connections and HTTP requests.

use super::setting::settings;
use super::values::{AddressRange, Bytes, Millis, Origin, Seconds};

settings! {
    /// WebSocket connections. Limits per address count an IPv6 /64 as one address; 0 lifts such a limit.
    pub struct Ws in "ws" {
        /// Browser pages that may connect, besides those this server delivers itself (the origin of `public_url`). Any other
        /// is refused with 4011. Programs that send no origin are not affected.
        origins: Vec<Origin> = Vec::new();
        /// Pages on this computer (localhost, 127.0.0.1, [::1], any port) may connect too. `dev` sets this.
        loopback_origins_allowed: bool = false;
        /// How long a client may take for the head of its HTTP request before the socket is closed.
        header_timeout_s: Seconds = Seconds(5), in 1..=60;
        /// How long a client may take for its `join` after the upgrade; then it is closed with 4009.
        first_frame_timeout_s: Seconds = Seconds(5), in 1..=60;
        /// Longest frame. A longer one closes the connection with 4009.
        frame_bytes_max: Bytes = Bytes::kib(16), in 1_024..=(1 << 20);
        /// Longest message, all its frames together. A longer one closes the connection with 4009.
        message_bytes_max: Bytes = Bytes::kib(64), in 1_024..=(1 << 20);
        /// Longest `join` message, the only one that strangers can send.
        join_bytes_max: Bytes = Bytes::kib(4), in 512..=(64 << 10);
        /// Longest presence state of a participant. A longer one is answered with an `error`; the connection stays.
        state_bytes_max: Bytes = Bytes::kib(4), in 0..=(64 << 10);
        /// What may wait to be sent to one connection. Queued presence first collapses into one snapshot; a connection that
        /// stays full for `ws.slow_consumer_timeout_s` is closed with 4202.
        outbox_bytes_max: Bytes = Bytes::kib(256), in (16 << 10)..=(16 << 20);
        /// Messages one connection may send on average. More is answered with an `error`, lasting excess closed with 4203.
        messages_per_s: u32 = 20, in 1..=10_000;
        /// Messages one connection may send at once.
        messages_burst: u32 = 60, in 1..=100_000;
        /// How often clients are told to ping.
        ping_interval_ms: Millis = Millis(30_000), in 1_000..=300_000;
        /// A connection silent for this long is sent a WebSocket ping.
        probe_after_ms: Millis = Millis(35_000), in 1_000..=600_000;
        /// A connection silent for this long is dead (4201). Its span ends at its last evidence, not now.
        dead_after_ms: Millis = Millis(45_000), in 1_000..=900_000;
        /// How long a connection may stay unable to take what is sent before it is closed with 4202.
        slow_consumer_timeout_s: Seconds = Seconds(30), in 1..=600;
        /// How long a closed connection may take to confirm the close before the socket is dropped.
        close_confirm_timeout_ms: Millis = Millis(1_000), in 10..=60_000;
        /// Handshakes and joins under way at once. At the limit new connections wait in the queue of the operating system.
        handshakes_concurrent_max: u32 = 256, in 1..=65_536;
        /// Connections from everywhere that have not joined yet. At the limit new ones are closed with 4204, so that strangers
        /// cannot take the room of those who have a token.
        unauthenticated_max: u32 = 10_000, in 1..=10_000_000;
        /// Open connections of this node. At the limit new ones are closed with 4204.
        connections_max: u32 = 100_000, in 1..=10_000_000;
        /// New connections from one address on average. More are closed with 4203.
        connections_per_address_per_s: u32 = 10, in 0..=1_000_000;
        /// New connections from one address at once.
        connections_per_address_burst: u32 = 50, in 0..=1_000_000;
        /// Connections from one address that have not joined yet.
        unauthenticated_per_address_max: u32 = 20, in 0..=1_000_000;
        /// Failed joins from one address. More are closed with 4203 before their token is looked at.
        failed_joins_per_address_per_min: u32 = 10, in 0..=1_000_000;
    }
}

settings! {
    /// The REST API.
    pub struct Http in "http" {
        /// Longest request body. A longer one is answered 413.
        body_bytes_max: Bytes = Bytes::kib(64), in 1_024..=(16 << 20);
        /// How long a request may take, its body included, before it is answered 503.
        request_timeout_s: Seconds = Seconds(30), in 1..=600;
        /// Open HTTP connections of this node; one that becomes a WebSocket is none any more. At the limit the one that has been
        /// silent for longest is closed; when all have a request under way, new ones wait in the queue of the operating system.
        connections_max: u32 = 10_000, in 10..=1_000_000;
        /// Open HTTP connections from one address. More are answered 429 and closed. Trusted proxies are not limited. 0 lifts
        /// the limit.
        connections_per_address_max: u32 = 256, in 0..=1_000_000;
        /// How long a client may take nothing of its answer before the connection is closed.
        answer_stall_timeout_s: Seconds = Seconds(10), in 1..=600;
        /// Requests with one API key on average. More are answered 429 with `Retry-After`. 0 lifts the limit.
        requests_per_key_per_s: u32 = 100, in 0..=1_000_000;
        /// Requests with one API key at once.
        requests_per_key_burst: u32 = 200, in 0..=1_000_000;
        /// Calls of `POST /v1/invites/check` from one address: it is public, and a token must not be guessed. 0 lifts the limit.
        invite_checks_per_address_per_min: u32 = 30, in 0..=1_000_000;
        /// Requests with a wrong API key from one address. More are answered 429 before the key is looked at. 0 lifts the limit.
        failed_keys_per_address_per_min: u32 = 10, in 0..=1_000_000;
        /// Proxies whose `X-Forwarded-For` is believed. From anybody else the header is ignored.
        trusted_proxies: Vec<AddressRange> = Vec::new();
    }
}
