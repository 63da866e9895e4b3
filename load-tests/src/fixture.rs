//! A small room server for tests, on real sockets, that speaks the documented frames of each protocol. It is a fixture for
//! the adapters and the swarm, not a measure of anything: what is measured are the products themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::adapter::{Protocol, Target};

type Rooms = Arc<Mutex<BTreeMap<String, Room>>>;

#[derive(Debug, Default)]
struct Room {
    seq: u64,
    members: BTreeMap<String, UnboundedSender<String>>,
}

/// What a client asked for.
enum Asked {
    Join {
        room: String,
        identity: String,
    },
    /// Goes back as it is.
    Reply(String),
    Nothing,
}

#[derive(Debug)]
pub struct Fixture {
    pub target: Target,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fixture {
    pub async fn start(protocol: Protocol) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let rooms = Rooms::default();
        let spoken = protocol.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, spoken.clone(), rooms.clone()));
            }
        });
        Self { target: Target { address, protocol }, task }
    }
}

async fn serve(stream: TcpStream, protocol: Protocol, rooms: Rooms) {
    #[allow(clippy::result_large_err)] // The library's type.
    let agree = |request: &Request, mut response: Response| {
        if let Some(subprotocol) = request.headers().get("sec-websocket-protocol") {
            response.headers_mut().insert("sec-websocket-protocol", subprotocol.clone());
        }
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, agree).await else { return };
    let (sender, mut outbox) = unbounded_channel::<String>();
    if matches!(protocol, Protocol::Pusher { .. }) {
        let data = json!({ "socket_id": "11.22", "activity_timeout": 120 }).to_string();
        let hello = json!({ "event": "pusher:connection_established", "data": data });
        sender.send(hello.to_string()).expect("the outbox is ours");
    }
    let mut place: Option<(String, String)> = None;
    loop {
        tokio::select! {
            Some(text) = outbox.recv() => if socket.send(Message::text(text)).await.is_err() { break },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => match asked(&protocol, &text) {
                    Asked::Join { room, identity } => {
                        enter(&protocol, &rooms, &room, &identity, &sender);
                        place = Some((room, identity));
                    }
                    Asked::Reply(text) => sender.send(text).expect("the outbox is ours"),
                    Asked::Nothing => {}
                },
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
        }
    }
    if let Some((name, identity)) = place {
        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(name.clone()).or_default();
        // Who came again before this socket ended is somebody else's.
        if room.members.get(&identity).is_some_and(|member| member.same_channel(&sender)) {
            room.members.remove(&identity);
            room.tell(&change(&protocol, &name, room.seq + 1, &[], &[&identity]));
        }
    }
}

fn enter(protocol: &Protocol, rooms: &Rooms, name: &str, identity: &str, sender: &UnboundedSender<String>) {
    let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
    let room = rooms.entry(name.to_owned()).or_default();
    if !room.members.contains_key(identity) {
        room.tell(&change(protocol, name, room.seq + 1, &[identity], &[]));
    }
    room.members.insert(identity.to_owned(), sender.clone());
    let members: Vec<&str> = room.members.keys().map(String::as_str).collect();
    sender.send(joined(protocol, name, room.seq, &members)).expect("the client is there");
}

impl Room {
    fn tell(&mut self, text: &str) {
        self.seq += 1;
        for member in self.members.values() {
            // A member whose socket has just ended does not listen.
            member.send(text.to_owned()).ok();
        }
    }
}

fn asked(protocol: &Protocol, text: &str) -> Asked {
    let frame: Value = serde_json::from_str(text).expect("clients send JSON");
    let string = |value: &Value| value.as_str().expect("a string").to_owned();
    match protocol {
        Protocol::Pusher { .. } => match frame["event"].as_str() {
            Some("pusher:ping") => Asked::Reply(r#"{"event":"pusher:pong","data":{}}"#.to_owned()),
            Some("pusher:subscribe") => {
                let member: Value = serde_json::from_str(&string(&frame["data"]["channel_data"])).expect("JSON");
                Asked::Join { room: string(&frame["data"]["channel"]), identity: string(&member["user_id"]) }
            }
            _ => Asked::Nothing,
        },
        Protocol::Phoenix { .. } => match frame[3].as_str() {
            Some("heartbeat") => {
                let reply = json!([null, frame[1], "phoenix", "phx_reply", { "status": "ok", "response": {} }]);
                Asked::Reply(reply.to_string())
            }
            Some("phx_join") => Asked::Join { room: string(&frame[2]), identity: string(&frame[4]["identity"]) },
            _ => Asked::Nothing,
        },
        _ => match frame["type"].as_str() {
            Some("ping") => Asked::Reply(format!(r#"{{"type":"pong","id":{}}}"#, frame["id"])),
            Some("join") => Asked::Join { room: string(&frame["token"]), identity: string(&frame["identity"]) },
            _ => Asked::Nothing,
        },
    }
}

fn joined(protocol: &Protocol, room: &str, seq: u64, members: &[&str]) -> String {
    let by_name = |value: Value| members.iter().map(|name| ((*name).to_owned(), value.clone())).collect();
    match protocol {
        Protocol::Pusher { .. } => {
            let hash: serde_json::Map<String, Value> = by_name(json!({}));
            let data = json!({ "presence": { "ids": members, "hash": hash, "count": members.len() } }).to_string();
            let event = "pusher_internal:subscription_succeeded";
            json!({ "event": event, "channel": room, "data": data }).to_string()
        }
        Protocol::Phoenix { .. } => {
            let state: serde_json::Map<String, Value> = by_name(json!({ "metas": [{ "phx_ref": "x" }] }));
            json!(["1", null, room, "presence_state", state]).to_string()
        }
        _ => {
            let people: Vec<Value> = members.iter().map(|name| person(name)).collect();
            format!(r#"{{"type":"joined","seq":{seq},"participants":{}}}"#, Value::from(people))
        }
    }
}

fn change(protocol: &Protocol, room: &str, seq: u64, joins: &[&str], leaves: &[&str]) -> String {
    match protocol {
        Protocol::Pusher { .. } => {
            let event = if joins.is_empty() { "member_removed" } else { "member_added" };
            let data = json!({ "user_id": joins.iter().chain(leaves).next() }).to_string();
            json!({ "event": format!("pusher_internal:{event}"), "channel": room, "data": data }).to_string()
        }
        Protocol::Phoenix { .. } => {
            let metas = |names: &[&str]| -> Value {
                names.iter().map(|name| ((*name).to_owned(), json!({ "metas": [] }))).collect()
            };
            json!([null, null, room, "presence_diff", { "joins": metas(joins), "leaves": metas(leaves) }]).to_string()
        }
        _ => {
            let people = |names: &[&str]| Value::from(names.iter().map(|name| person(name)).collect::<Vec<_>>());
            let (joins, leaves) = (people(joins), people(leaves));
            format!(r#"{{"type":"presence","seq":{seq},"joins":{joins},"leaves":{leaves}}}"#)
        }
    }
}

fn person(name: &str) -> Value {
    json!({ "participant_id": format!("p-{name}"), "identity": name })
}
