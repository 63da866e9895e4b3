//! What is measured: a server of ours that is started anew for each turn, or one that runs already.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::{Context, bail};

use super::node::{self, Library};
use crate::adapter::{Protocol, Target};
use crate::control::SessionOptions;
use crate::floor;
use crate::process::Process;
use crate::server::Server;

/// A system and how to get at it.
#[derive(Debug, Clone)]
pub(super) struct System {
    pub name: String,
    pub source: Source,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    Floor(floor::Kind),
    Rollcall {
        program: PathBuf,
    },
    Node {
        library: Library,
        folder: PathBuf,
    },
    /// Runs already, and goes on running. Without its process id neither memory nor processor time is known.
    Running {
        target: Target,
        pid: Option<u32>,
    },
}

/// A system that accepts connections.
#[derive(Debug)]
pub(super) struct Up {
    pub target: Target,
    pub pid: Option<u32>,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    Process(Box<Process>),
    Rollcall(Box<Server>),
    None,
}

impl System {
    /// # Errors
    /// It does not start.
    pub async fn start(&self) -> anyhow::Result<Up> {
        let up = match &self.source {
            Source::Floor(kind) => {
                let (process, listen) = floor::start(*kind).await?;
                Up {
                    target: Target::echo(listen),
                    pid: Some(process.pid()),
                    handle: Handle::Process(Box::new(process)),
                }
            }
            Source::Rollcall { program } => {
                let server = Server::start(program, &[]).await?;
                let (target, pid) = (Target::rollcall(server.listen()), server.pid());
                Up { target, pid: Some(pid), handle: Handle::Rollcall(Box::new(server)) }
            }
            Source::Node { library, folder } => {
                let (process, target) = node::start(*library, folder).await?;
                Up { target, pid: Some(process.pid()), handle: Handle::Process(Box::new(process)) }
            }
            Source::Running { target, pid } => Up { target: target.clone(), pid: *pid, handle: Handle::None },
        };
        Ok(up)
    }

    pub fn has_rooms(&self) -> bool {
        match &self.source {
            Source::Floor(_) => false,
            Source::Running { target, .. } => target.protocol.has_rooms(),
            Source::Rollcall { .. } | Source::Node { .. } => true,
        }
    }
}

impl Up {
    /// Rooms that nobody is in yet, as the tokens that let clients in. `turn` keeps the rooms of a server that is not
    /// started anew apart.
    ///
    /// # Errors
    /// Rollcall does not make them.
    pub async fn rooms(&self, count: usize, turn: &str) -> anyhow::Result<Vec<String>> {
        match &self.handle {
            Handle::Rollcall(server) => server.api()?.create_rooms(count, SessionOptions::default(), |_| ()).await,
            _ => Ok((0..count).map(|room| format!("load-{turn}-{room}")).collect()),
        }
    }

    /// # Errors
    /// It had to be killed.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self.handle {
            Handle::Process(process) => process.stop().await,
            Handle::Rollcall(server) => server.stop().await,
            Handle::None => Ok(()),
        }
    }
}

/// Reads `[LABEL:]PROTOCOL=URL`.
///
/// # Errors
/// The text says what is wrong.
pub(super) fn parse(text: &str) -> anyhow::Result<(String, Target)> {
    let (name, url) = text.split_once('=').context("a peer is [LABEL:]PROTOCOL=ws://HOST:PORT/PATH")?;
    let (label, kind) = name.split_once(':').unwrap_or((name, name));
    let rest = url.strip_prefix("ws://").context("the URL of a peer begins with ws:// (TLS is not measured)")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let address = resolve(authority)?;
    let (path, mut query) = split_query(path);
    let mut take = |key: &str| {
        let found = query.iter().position(|(name, _)| name == key)?;
        Some(query.remove(found).1)
    };
    let protocol = match kind {
        "echo" => Protocol::Echo,
        "ws" => Protocol::RollcallPeer { path: path.to_owned() },
        "socketio" => Protocol::SocketIo { path: if path == "/" { "/socket.io/" } else { path }.to_owned() },
        "pusher" => {
            let app = path.strip_prefix("/app/").filter(|app| !app.is_empty() && !app.contains('/'));
            let app = app.context("the URL of a Pusher server is ws://HOST:PORT/app/KEY?secret=SECRET")?.to_owned();
            Protocol::Pusher { app, secret: take("secret").context("the URL of a Pusher server needs ?secret=SECRET")? }
        }
        "phoenix" => {
            let topic = take("topic").unwrap_or_else(|| "room:".to_owned());
            let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            let separator = if query.is_empty() { "" } else { "?" };
            Protocol::Phoenix { path: format!("{path}{separator}{}", query.join("&")), topic }
        }
        other => bail!("unknown protocol {other:?}: echo, ws, socketio, pusher or phoenix"),
    };
    Ok((label.to_owned(), Target { address, protocol }))
}

fn resolve(authority: &str) -> anyhow::Result<SocketAddr> {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let addresses = authority.to_socket_addrs().with_context(|| format!("no such host: {authority}"))?;
    addresses.into_iter().min_by_key(SocketAddr::is_ipv6).with_context(|| format!("no address of {authority}"))
}

fn split_query(path: &str) -> (&str, Vec<(String, String)>) {
    let Some((path, query)) = path.split_once('?') else { return (path, Vec::new()) };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    (path, pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (k.into(), v.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_peers_by_url() {
        let (name, target) = parse("pusher=ws://127.0.0.1:6001/app/key?secret=s3").unwrap();
        assert_eq!((name.as_str(), target.address.port()), ("pusher", 6001));
        assert_eq!(target.protocol, Protocol::Pusher { app: "key".to_owned(), secret: "s3".to_owned() });
        let (name, target) = parse("mine:phoenix=ws://127.0.0.1:4000/socket/websocket?token=x&topic=lobby:").unwrap();
        assert_eq!(name, "mine");
        let path = "/socket/websocket?token=x".to_owned();
        assert_eq!(target.protocol, Protocol::Phoenix { path, topic: "lobby:".to_owned() });
        assert_eq!(parse("echo=ws://127.0.0.1").unwrap().1.address.port(), 80);
        assert!(
            matches!(parse("socketio=ws://127.0.0.1:1").unwrap().1.protocol, Protocol::SocketIo { path } if path == "/socket.io/")
        );
    }

    #[test]
    fn says_what_is_wrong_with_a_peer() {
        for (text, part) in [
            ("pusher", "PROTOCOL=ws://"),
            ("pusher=http://x/", "ws://"),
            ("pusher=ws://127.0.0.1:1/app/key", "secret"),
            ("pusher=ws://127.0.0.1:1/", "/app/KEY"),
            ("mqtt=ws://127.0.0.1:1/", "unknown protocol"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
