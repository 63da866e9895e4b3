//! A TCP stream whose peer must take what it is sent: a write that makes no progress for a time fails, and little is written
//! ahead.
//!
//! HTTP has limits for what a client sends late, and none for what it reads late: without this, whoever asks and never reads
//! keeps an answer in memory for ever, and the kernel takes megabytes of answers for each until it has no memory for anybody's
//! connection. Sockets have limits of their own and leave this behind at the upgrade.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Bytes that wait in the kernel because the peer has not taken earlier ones; no more is written then. What is under way to a
/// peer that reads does not count, so nobody is slowed by this, however long the way.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

pub(super) struct Patient {
    stream: TcpStream,
    stall_timeout: Duration,
    /// Since the last progress, while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(super) fn new(stream: TcpStream, stall_timeout: Duration) -> Self {
        limit_unsent(&stream, UNSENT_BYTES_MAX);
        Self { stream, stall_timeout, stalled: None }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        // Zero is the kernel's own limit.
        limit_unsent(&self.stream, 0);
        self.stream
    }

    fn judge(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let stall_timeout = self.stall_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall_timeout)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A stream that refuses the option works all the same.
#[cfg(target_os = "linux")]
fn limit_unsent(stream: &TcpStream, bytes: u32) {
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(bytes).ok();
}

#[cfg(not(target_os = "linux"))]
fn limit_unsent(_: &TcpStream, _: u32) {}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.judge(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const STALL_TIMEOUT: Duration = Duration::from_millis(200);

    async fn pair() -> (Patient, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let far = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let (near, _) = listener.accept().await.expect("accepted");
        (Patient::new(near, STALL_TIMEOUT), far)
    }

    /// More than the kernel keeps for a connection.
    const MUCH: usize = 64 << 20;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (mut near, far) = pair().await;
        let error = near.write_all(&vec![0; MUCH]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn little_is_written_ahead_of_a_peer_that_takes_nothing() {
        let (mut near, far) = pair().await;
        // Small pieces, as pipelined answers are.
        let mut written: u64 = 0;
        while near.write_all(&[0; 1024]).await.is_ok() {
            written += 1024;
        }
        let socket = socket2::SockRef::from(&far);
        let taken = socket.recv_buffer_size().expect("a size") as u64;
        let most = taken + u64::from(2 * UNSENT_BYTES_MAX);
        assert!(written <= most, "{written} bytes beside {taken} that the peer has room for");
        let near = near.into_inner();
        assert_eq!(socket2::SockRef::from(&near).tcp_notsent_lowat().expect("the option"), 0);
    }

    #[tokio::test]
    async fn a_peer_that_takes_what_comes_gets_all_of_it() {
        let (mut near, mut far) = pair().await;
        let reading = tokio::spawn(async move {
            let mut read = 0;
            let mut buffer = vec![0; 1 << 20];
            while let Ok(length @ 1..) = far.read(&mut buffer).await {
                read += length;
            }
            read
        });
        near.write_all(&vec![0; MUCH]).await.expect("taken");
        drop(near);
        assert_eq!(reading.await.expect("read"), MUCH);
    }
}
