//! A TCP connection: two pipes with latency and a limit on what waits in them. It can be cut, so that neither side hears of
//! the other any more and neither is told; that is what half-open means.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rollcall::clock::{Clock, Timer, simulated};
use rollcall::ws::Wire;
use rollcall_core::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The two ends and what lies between them.
#[derive(Debug, Clone)]
pub struct Link {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    latency: Duration,
    capacity: usize,
    is_cut: bool,
    /// Towards the server, then towards the client.
    pipes: [Pipe; 2],
}

#[derive(Debug)]
struct Pipe {
    /// What was written and not read yet, with when it arrives.
    chunks: VecDeque<(Timestamp, Vec<u8>)>,
    waiting_bytes: usize,
    /// The latest arrival so far; bytes do not overtake each other.
    last_arrival: Timestamp,
    /// The latest arrival of something that was read.
    last_read: Timestamp,
    /// The writer is gone, with when the reader learns of it and whether in good order.
    end: Option<(Timestamp, End)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Reset,
}

/// Which way bytes travel from an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// One end. Dropping it closes the connection in good order.
#[derive(Debug)]
pub struct WireEnd {
    link: Link,
    side: Side,
    /// For the arrival of what is on its way.
    alarm: Option<(Timestamp, Timer)>,
}

/// A connection that has just been made: the client's end, the server's, and the hand on both.
pub fn connect(latency: Duration, capacity: usize) -> (WireEnd, WireEnd, Link) {
    let state = State { latency, capacity, is_cut: false, pipes: [Pipe::new(), Pipe::new()] };
    let link = Link { state: Arc::new(Mutex::new(state)) };
    let end = |side| WireEnd { link: link.clone(), side, alarm: None };
    (end(Side::Client), end(Side::Server), link.clone())
}

impl Link {
    /// From now on nothing arrives on either side, and nobody is told.
    pub fn cut(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.is_cut, true) {
            return;
        }
        let now = simulated::now();
        for pipe in &mut state.pipes {
            pipe.chunks.retain(|(arrives_at, _)| *arrives_at <= now);
            pipe.end.take_if(|(arrives_at, _)| *arrives_at > now);
            pipe.last_arrival = pipe.chunks.back().map_or(pipe.last_read, |(arrived_at, _)| *arrived_at);
        }
    }

    pub fn is_cut(&self) -> bool {
        self.lock().is_cut
    }

    /// When the last byte of the client reached the server, or will.
    pub fn last_heard(&self) -> Timestamp {
        self.lock().pipes[Side::Client as usize].last_arrival
    }

    /// The client's process is gone: the server reads what was sent and then a broken connection.
    pub fn reset_by_client(&self) {
        self.lock().finish(Side::Client, End::Reset);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("plain data")
    }
}

impl Pipe {
    fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            waiting_bytes: 0,
            last_arrival: Timestamp::ZERO,
            last_read: Timestamp::ZERO,
            end: None,
            reader: None,
            writer: None,
        }
    }
}

impl State {
    fn finish(&mut self, side: Side, end: End) {
        if self.is_cut {
            return;
        }
        let arrives_at = simulated::now() + self.latency;
        let pipe = &mut self.pipes[side as usize];
        pipe.end.get_or_insert((arrives_at.max(pipe.last_arrival), end));
        pipe.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl WireEnd {
    fn outgoing(&self) -> usize {
        self.side as usize
    }

    fn incoming(&self) -> usize {
        1 - self.side as usize
    }

    fn write(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        let mut state = self.link.lock();
        let now = simulated::now();
        let gone = state.pipes[self.incoming()].end.is_some_and(|(arrives_at, _)| arrives_at <= now);
        if gone && !state.is_cut {
            // The peer answers what it did not expect with a reset.
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let (latency, capacity, is_cut) = (state.latency, state.capacity, state.is_cut);
        let pipe = &mut state.pipes[self.outgoing()];
        let room = capacity.saturating_sub(pipe.waiting_bytes).min(bytes.len());
        if room == 0 {
            return None;
        }
        pipe.waiting_bytes += room;
        if !is_cut {
            let arrives_at = (now + latency).max(pipe.last_arrival);
            pipe.last_arrival = arrives_at;
            pipe.chunks.push_back((arrives_at, bytes[..room].to_vec()));
            pipe.reader.take().into_iter().for_each(Waker::wake);
        }
        Some(Ok(room))
    }
}

impl AsyncRead for WireEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let now = simulated::now();
        let incoming = self.incoming();
        let wait_until = {
            let mut state = self.link.lock();
            let pipe = &mut state.pipes[incoming];
            let mut taken = 0;
            while let Some((arrives_at, bytes)) = pipe.chunks.front_mut()
                && *arrives_at <= now
                && buffer.remaining() > 0
            {
                let count = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes[..count]);
                bytes.drain(..count);
                taken += count;
                pipe.last_read = *arrives_at;
                if bytes.is_empty() {
                    pipe.chunks.pop_front();
                }
            }
            if taken > 0 {
                pipe.waiting_bytes -= taken;
                pipe.writer.take().into_iter().for_each(Waker::wake);
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(context.waker().clone());
            match (pipe.chunks.front(), pipe.end) {
                (Some((arrives_at, _)), _) => *arrives_at,
                (None, Some((arrives_at, end))) if arrives_at <= now => {
                    return Poll::Ready(match end {
                        End::Finished => Ok(()),
                        End::Reset => Err(io::ErrorKind::ConnectionReset.into()),
                    });
                }
                (None, Some((arrives_at, _))) => arrives_at,
                (None, None) => return Poll::Pending,
            }
        };
        if self.alarm.as_ref().is_none_or(|(at, _)| *at != wait_until) {
            self.alarm = Some((wait_until, Clock::simulated(0).timer(wait_until.since(now))));
        }
        if let Some((_, alarm)) = &mut self.alarm {
            // It wakes this task at the arrival, which is later than now.
            assert!(alarm.poll(context).is_pending(), "what has arrived is read at once");
        }
        Poll::Pending
    }
}

impl AsyncWrite for WireEnd {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.write(bytes) {
            Some(written) => Poll::Ready(written),
            None => {
                let outgoing = self.outgoing();
                self.link.lock().pipes[outgoing].writer = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.lock().finish(self.side, End::Finished);
        Poll::Ready(Ok(()))
    }
}

impl Wire for WireEnd {
    fn settle(self) -> io::Result<Self> {
        Ok(self)
    }

    fn send_last(&self, bytes: &[u8]) {
        // What does not fit is lost with the connection.
        drop(self.write(bytes));
    }
}

impl Drop for WireEnd {
    fn drop(&mut self) {
        self.link.lock().finish(self.side, End::Finished);
    }
}
