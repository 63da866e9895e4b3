//! The types and the code registry of the browser client, written from the types of this crate. A test fails when the
//! files in sdk/src are stale; with ROLLCALL_UPDATE=1 it writes them.

use ts_rs::{Config, TS};

use crate::client::{
    ClientInfo, ClientMessage, EndRequest, ExtendRequest, JoinRequest, KickRequest, PingRequest, UpdateRequest,
};
use crate::codes::{ErrorCode, Retry};
use crate::server::{ErrorMessage, JoinedMessage, Leave, OwnInfo, Participant, ServerMessage, SessionInfo};

const HEADER: &str =
    "// Generated from crates/protocol by its tests; ROLLCALL_UPDATE=1 cargo test -p rollcall-protocol writes it.\n";

/// All frames as TypeScript declarations.
fn protocol_types() -> String {
    // 2^53 milliseconds are 285,000 years: a plain number holds whatever this protocol counts.
    let config = Config::default().with_large_int("number");
    let mut text = HEADER.to_owned();
    declare::<ClientMessage<'_>>(&config, &mut text);
    declare::<JoinRequest>(&config, &mut text);
    declare::<ClientInfo>(&config, &mut text);
    declare::<PingRequest<'_>>(&config, &mut text);
    declare::<UpdateRequest>(&config, &mut text);
    declare::<EndRequest>(&config, &mut text);
    declare::<ExtendRequest>(&config, &mut text);
    declare::<KickRequest>(&config, &mut text);
    declare::<ServerMessage<'_>>(&config, &mut text);
    declare::<JoinedMessage<'_>>(&config, &mut text);
    declare::<SessionInfo<'_>>(&config, &mut text);
    declare::<OwnInfo<'_>>(&config, &mut text);
    declare::<Participant<'_>>(&config, &mut text);
    declare::<Leave>(&config, &mut text);
    declare::<ErrorMessage<'_>>(&config, &mut text);
    declare::<Retry>(&config, &mut text);
    declare::<ErrorCode>(&config, &mut text);
    text
}

fn declare<T: TS>(config: &Config, text: &mut String) {
    text.push('\n');
    if let Some(docs) = T::docs() {
        text.push_str(docs.trim_end());
        text.push('\n');
    }
    text.push_str("export ");
    text.push_str(&T::decl(config));
    text.push('\n');
}

/// Every error code with what a client, a visitor and a developer need to know of it.
fn codes_module() -> String {
    let mut text = HEADER.to_owned();
    text.push_str(
        "\n/**\n * Every public error code: the close code that follows it on a socket (or null), what a client does next, a\n \
         * sentence for the visitor and a hint for the developer.\n *\n \
         * @type {Readonly<Record<import(\"./protocol.d.ts\").ErrorCode, {close: number | null, retry: \
         import(\"./protocol.d.ts\").Retry, message: string, hint: string}>>}\n */\nexport const codes = {\n",
    );
    for code in ErrorCode::ALL {
        let entry = serde_json::json!({
            "close": code.close().map(crate::CloseCode::number),
            "retry": code.retry(),
            "message": code.message(),
            "hint": code.hint(),
        });
        text.push_str(&format!("  {}: {entry},\n", code.as_str()));
    }
    text.push_str("};\n");
    text
}

fn is_fresh(path: &str, expected: &str) {
    let path = format!("{}/../../sdk/src/{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("ROLLCALL_UPDATE").is_some() {
        std::fs::write(&path, expected).expect("sdk/src is writable");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{path} is stale: run the tests with ROLLCALL_UPDATE=1");
}

#[test]
fn types_of_the_browser_client_are_fresh() {
    is_fresh("protocol.d.ts", &protocol_types());
}

#[test]
fn codes_of_the_browser_client_are_fresh() {
    is_fresh("codes.js", &codes_module());
}
