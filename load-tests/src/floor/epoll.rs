//! Floor (b): the price of the kernel. One thread, one epoll set, one read and one write for each ping, one buffer for all
//! connections; a connection costs a few bytes beside its socket. Nothing is allocated for a frame that arrives whole.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::frames::{self, FRAME_BYTES_MAX};

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 512;

/// The one read buffer. A read never leaves more than the beginning of one frame.
const BUFFER_BYTES: usize = 4 * FRAME_BYTES_MAX;

/// What a connection owes the floor beyond its socket; nothing, most of the time.
#[derive(Debug)]
struct Slot {
    stream: TcpStream,
    is_upgraded: bool,
    /// Bytes of an unfinished frame, or of an echo that the kernel would not take.
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

struct Floor<'l> {
    listener: &'l TcpListener,
    epoll: Epoll,
    /// By file descriptor, which the kernel keeps dense.
    slots: Vec<Option<Slot>>,
    buffer: Vec<u8>,
    output: Vec<u8>,
}

/// Serves until `stop` can be read or is at its end.
///
/// # Errors
/// The system refuses to poll or to accept.
pub(super) fn serve(listener: &TcpListener, stop: BorrowedFd<'_>) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let readable = |fd: i32| EpollEvent::new(EpollFlags::EPOLLIN, fd as u64);
    epoll.add(listener, readable(listener.as_raw_fd())).context("the listening socket")?;
    epoll.add(stop, readable(stop.as_raw_fd())).context("standard input is to be a pipe")?;
    let mut floor = Floor { listener, epoll, slots: Vec::new(), buffer: vec![0; BUFFER_BYTES], output: Vec::new() };
    let mut events = [EpollEvent::empty(); EVENTS_MAX];
    loop {
        let count = match floor.epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        for event in &events[..count] {
            let fd = event.data() as usize;
            if fd == stop.as_raw_fd() as usize {
                return Ok(());
            }
            if fd == listener.as_raw_fd() as usize {
                floor.accept()?;
            } else if floor.handle(fd, event.events()).is_err() {
                // The end of the file takes it out of the set. That a client goes is not the floor's affair.
                floor.slots[fd] = None;
            }
        }
    }
}

impl Floor<'_> {
    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accept"),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let fd = stream.as_raw_fd() as usize;
            self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, fd as u64))?;
            if self.slots.len() <= fd {
                self.slots.resize_with(fd + 1, || None);
            }
            self.slots[fd] = Some(Slot { stream, is_upgraded: false, rest: None });
        }
    }

    /// An error ends the connection.
    fn handle(&mut self, fd: usize, events: EpollFlags) -> anyhow::Result<()> {
        let slot = self.slots.get_mut(fd).and_then(Option::as_mut).context("no such connection")?;
        if events.contains(EpollFlags::EPOLLOUT) {
            slot.send_rest(&self.epoll)?;
        }
        if !events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return Ok(());
        }
        let before = slot.take_unread(&mut self.buffer);
        let count = match (&slot.stream).read(&mut self.buffer[before..]) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        ensure!(count > 0, "the client has gone");
        let received = &mut self.buffer[..before + count];
        self.output.clear();
        let mut used = 0;
        if !slot.is_upgraded {
            used = frames::upgrade(received, &mut self.output)?;
            slot.is_upgraded = used > 0;
        }
        let mut is_closed = false;
        if slot.is_upgraded {
            let progress = frames::echo(&mut received[used..], &mut self.output)?;
            used += progress.used;
            is_closed = progress.is_closed;
        }
        slot.keep_unread(&received[used..]);
        slot.send(&self.output, &self.epoll)?;
        ensure!(!is_closed, "the client has closed");
        Ok(())
    }
}

impl Slot {
    fn take_unread(&mut self, buffer: &mut [u8]) -> usize {
        let Some(rest) = &mut self.rest else { return 0 };
        let length = rest.unread.len();
        buffer[..length].copy_from_slice(&rest.unread);
        rest.unread = Vec::new();
        self.forget_rest();
        length
    }

    fn keep_unread(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.rest.get_or_insert_default().unread = bytes.to_vec();
        }
    }

    fn send(&mut self, bytes: &[u8], epoll: &Epoll) -> anyhow::Result<()> {
        let sent = self.write(bytes)?;
        if sent < bytes.len() {
            self.rest.get_or_insert_default().unsent = bytes[sent..].to_vec();
            // Nothing is read from a client that does not read.
            self.listen_for(epoll, EpollFlags::EPOLLOUT)?;
        }
        Ok(())
    }

    fn send_rest(&mut self, epoll: &Epoll) -> anyhow::Result<()> {
        let unsent = self.rest.as_mut().map(|rest| std::mem::take(&mut rest.unsent)).unwrap_or_default();
        let sent = self.write(&unsent)?;
        if sent < unsent.len() {
            self.rest.get_or_insert_default().unsent = unsent[sent..].to_vec();
            return Ok(());
        }
        self.forget_rest();
        self.listen_for(epoll, EpollFlags::EPOLLIN)
    }

    fn write(&self, bytes: &[u8]) -> anyhow::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match (&self.stream).write(bytes) {
            Ok(sent) => Ok(sent),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn listen_for(&self, epoll: &Epoll, flags: EpollFlags) -> anyhow::Result<()> {
        let mut event = EpollEvent::new(flags, self.stream.as_raw_fd() as u64);
        epoll.modify(&self.stream, &mut event)?;
        Ok(())
    }

    fn forget_rest(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.unread.is_empty() && rest.unsent.is_empty()) {
            self.rest = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::thread::JoinHandle;

    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::adapter::Target;
    use crate::client;

    struct Running {
        target: Target,
        /// Dropped first: that ends the thread.
        stop: Option<UnixStream>,
        thread: Option<JoinHandle<anyhow::Result<()>>>,
    }

    impl Running {
        fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let target = Target::echo(listener.local_addr().unwrap());
            let (stop, other) = UnixStream::pair().unwrap();
            let thread = std::thread::spawn(move || serve(&listener, other.as_fd()));
            Self { target, stop: Some(stop), thread: Some(thread) }
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.stop.take();
            let ended = self.thread.take().map(|thread| thread.join());
            assert!(std::thread::panicking() || matches!(ended, Some(Ok(Ok(())))), "the floor ends in good order");
        }
    }

    #[tokio::test]
    async fn echoes_many_clients() {
        let floor = Running::start();
        let mut sockets = Vec::new();
        for index in 0..200 {
            sockets.push(client::connect(&floor.target, index).await.unwrap());
        }
        for (index, socket) in sockets.iter_mut().enumerate() {
            socket.send(Message::text(format!("hello {index}"))).await.unwrap();
        }
        for (index, socket) in sockets.iter_mut().enumerate() {
            assert_eq!(client::next_text(socket).await.unwrap().as_str(), format!("hello {index}"));
        }
        let mut first = sockets.remove(0);
        first.close(None).await.unwrap();
        while first.next().await.is_some_and(|message| message.is_ok()) {}
        drop(sockets);
        let mut another = client::connect(&floor.target, 0).await.unwrap();
        another.send(Message::Ping(b"x".as_slice().into())).await.unwrap();
        assert_eq!(another.next().await.unwrap().unwrap(), Message::Pong(b"x".as_slice().into()));
    }

    #[tokio::test]
    async fn echoes_frames_that_come_in_pieces() {
        let floor = Running::start();
        let mut socket = client::connect(&floor.target, 0).await.unwrap();
        // "hi", masked with zeros, twice, cut everywhere.
        let frames = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'].repeat(2);
        let stream = socket.get_mut();
        for byte in frames {
            stream.write_all(&[byte]).await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut echoed = [0; 8];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"\x81\x02hi\x81\x02hi");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_loses_nothing() {
        const FRAMES: usize = 2_000;
        let floor = Running::start();
        let (mut sink, mut source) = client::connect(&floor.target, 0).await.unwrap().split();
        let text = "z".repeat(8_000);
        let sent = text.clone();
        // 16 MB are more than both kernels' buffers hold.
        let sender = tokio::spawn(async move {
            for _ in 0..FRAMES {
                sink.send(Message::text(sent.as_str())).await.unwrap();
            }
        });
        for _ in 0..FRAMES {
            assert_eq!(source.next().await.unwrap().unwrap().into_text().unwrap().as_str(), text);
        }
        sender.await.unwrap();
    }
}
