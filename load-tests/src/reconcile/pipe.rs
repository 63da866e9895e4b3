//! A stretch of network between one client and the server that can be broken without anybody being told: bytes are held,
//! or vanish in both directions while both sockets stay open, as behind a lift door or a dead access point.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes that are carried at once.
const CHUNK_BYTES: usize = 8 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// Bytes wait and arrive later.
    Held,
    /// Nothing passes any more, for ever; neither side hears of it.
    Hole,
}

/// The handle of one such stretch. Without it the stretch stays as it is until both sockets have ended; a hole stays for
/// ever, because an end of our own making would tell the server something.
#[derive(Debug)]
pub struct Pipe {
    flow: watch::Sender<Flow>,
}

impl Pipe {
    /// A connection to the server by way of a pipe.
    ///
    /// # Errors
    /// The server does not accept it.
    pub async fn dial(server: SocketAddr, source: Ipv4Addr) -> anyhow::Result<(TcpStream, Self)> {
        let upstream = connect_from(server, source).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (client, accepted) =
            tokio::try_join!(TcpStream::connect(listener.local_addr()?), async { Ok(listener.accept().await?.0) })?;
        client.set_nodelay(true)?;
        accepted.set_nodelay(true)?;
        let (flow, seen) = watch::channel(Flow::Open);
        tokio::spawn(pump(accepted, upstream, seen));
        Ok((client, Self { flow }))
    }

    pub fn hold(&self) {
        self.flow.send_replace(Flow::Held);
    }

    pub fn release(&self) {
        self.flow.send_replace(Flow::Open);
    }

    /// From here on nothing passes, not even the end of a connection.
    pub fn break_silently(&self) {
        self.flow.send_replace(Flow::Hole);
    }
}

/// A connection from one of the loopback addresses.
///
/// # Errors
/// The server does not accept it.
pub async fn connect_from(server: SocketAddr, source: Ipv4Addr) -> anyhow::Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    let stream = socket.connect(server).await.context("connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn pump(client: TcpStream, upstream: TcpStream, flow: watch::Receiver<Flow>) {
    // An orderly end is passed on as one; whatever else takes the sockets away is a reset for both sides.
    client.set_zero_linger().ok();
    upstream.set_zero_linger().ok();
    let (client_read, client_write) = client.into_split();
    let (upstream_read, upstream_write) = upstream.into_split();
    let mut there = pin!(carry(client_read, Writer(Some(upstream_write)), flow.clone()));
    let mut back = pin!(carry(upstream_read, Writer(Some(client_write)), flow));
    tokio::select! {
        in_order = &mut there => if in_order { back.await; },
        in_order = &mut back => if in_order { there.await; },
    }
}

/// A writing half that says no goodbye of its own when it is dropped.
struct Writer(Option<OwnedWriteHalf>);

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(half) = self.0.take() {
            half.forget();
        }
    }
}

/// Carries one direction to its end. True when it ended in good order and the other side was told so.
async fn carry(mut read: OwnedReadHalf, mut writer: Writer, mut flow: watch::Receiver<Flow>) -> bool {
    let Some(write) = &mut writer.0 else { return false };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        pass(&mut flow).await;
        let received = tokio::select! {
            received = read.read(&mut chunk) => received,
            // Look again whether anything may pass.
            Ok(()) = flow.changed() => continue,
        };
        // What was read just before the pipe was closed waits like the rest.
        pass(&mut flow).await;
        match received {
            Ok(0) => return write.shutdown().await.is_ok(),
            // A reset that makes a write fail would look like an orderly end to the next read.
            Ok(length) if write.write_all(&chunk[..length]).await.is_ok() => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

/// Waits until bytes may pass; in a hole for ever.
async fn pass(flow: &mut watch::Receiver<Flow>) {
    // Without the handle nothing changes any more.
    if flow.wait_for(|flow| *flow == Flow::Open).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn pair() -> (TcpStream, Pipe, TcpStream) {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
        let address = server.local_addr().expect("address");
        let (dialled, accepted) = tokio::join!(Pipe::dial(address, Ipv4Addr::new(127, 0, 0, 2)), async {
            server.accept().await.expect("accepted").0
        });
        let (client, pipe) = dialled.expect("dialled");
        (client, pipe, accepted)
    }

    async fn expect(socket: &mut TcpStream, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut got))
            .await
            .expect("in time")
            .expect("bytes");
        assert_eq!(got, bytes);
    }

    #[tokio::test]
    async fn held_bytes_come_later_and_the_end_is_passed_on() {
        let (mut client, pipe, mut server) = pair().await;
        client.write_all(b"one").await.expect("written");
        expect(&mut server, b"one").await;
        pipe.hold();
        client.write_all(b"two").await.expect("written");
        server.write_all(b"back").await.expect("written");
        pipe.release();
        expect(&mut server, b"two").await;
        expect(&mut client, b"back").await;
        client.shutdown().await.expect("shut");
        assert_eq!(server.read(&mut [0; 8]).await.expect("end"), 0);
    }

    #[tokio::test]
    async fn a_reset_is_passed_on_as_a_reset() {
        let (client, pipe, mut server) = pair().await;
        client.set_zero_linger().expect("linger");
        drop(client);
        let seen = tokio::time::timeout(Duration::from_secs(5), server.read(&mut [0; 8])).await.expect("in time");
        assert!(seen.is_err(), "{seen:?}");
        drop(pipe);
    }

    #[tokio::test]
    async fn in_a_hole_neither_side_hears_anything() {
        let (mut client, pipe, mut server) = pair().await;
        client.write_all(b"one").await.expect("written");
        expect(&mut server, b"one").await;
        pipe.break_silently();
        client.write_all(b"lost").await.expect("the client does not know");
        drop(client);
        let mut byte = [0; 1];
        let heard = tokio::time::timeout(Duration::from_millis(300), server.read(&mut byte)).await;
        assert!(heard.is_err(), "the server heard {heard:?}");
    }
}
