//! The accept loop: HTTP/1.1 only, with limits on the number of connections, on the time for a request's head and for
//! taking the answer, and a backlog that a storm of joins does not overflow.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rollcall_protocol::ErrorCode;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use tracing::{debug, warn};

use super::lobby::{Lobby, Place};
use super::patient::Patient;

/// Connections that the kernel holds for us while we are busy. The common default of 128 overflows in a join storm, and
/// every overflow costs a client a second of retransmission.
const LISTEN_BACKLOG: i32 = 4096;

/// Bytes for the head of a request; a longer one is answered 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Pause after a failed accept, most likely for want of file descriptors.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A bound listening socket.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// # Errors
    /// The address is taken, or not ours.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address with the port that was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Times and limits of HTTP connections.
pub struct HttpConnections {
    /// For the head of a request. A new connection has it once for its first byte and once more for the rest.
    pub header_timeout: Duration,
    /// A client that takes nothing of an answer for this long is given up.
    pub answer_stall_timeout: Duration,
    pub lobby: Arc<Lobby>,
}

/// Accepts until `stop`. Each connection is a tracked task; requests under way at `stop` are finished.
pub async fn serve(
    listener: Listener,
    router: Router,
    limits: HttpConnections,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let limits = Arc::new(limits);
    loop {
        let accepted = tokio::select! {
            accepted = listener.listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let place = tokio::select! {
                    place = limits.lobby.enter(address.ip()) => place,
                    () = stop.cancelled() => return,
                };
                match place {
                    Some(place) => {
                        let connection =
                            serve_connection(stream, address, router.clone(), place, limits.clone(), stop.clone());
                        tasks.spawn(connection);
                    }
                    None => turn_away(&stream),
                }
            }
            Err(error) if is_of_one_connection(&error) => {
                debug!(%error, "a connection was gone before it was accepted")
            }
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_RETRY_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    address: SocketAddr,
    router: Router,
    place: Place,
    limits: Arc<HttpConnections>,
    stop: CancellationToken,
) {
    // Small frames must not wait for each other; a socket that refuses the option works all the same.
    stream.set_nodelay(true).ok();
    // Until there is something to read a connection has no buffer.
    let spoke = tokio::select! {
        readable = tokio::time::timeout(limits.header_timeout, stream.readable()) => matches!(readable, Ok(Ok(()))),
        () = place.evicted() => false,
        () = stop.cancelled() => false,
    };
    if !spoke {
        return;
    }
    let place = Arc::new(place);
    let counted = place.clone();
    // A request that has a length too may have been cut elsewhere by the proxy in front of us, and what follows would be
    // somebody else's. So nothing follows a body in chunks (RFC 9112, 6.1).
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        let (mut router, place) = (router.clone(), counted.clone());
        let is_last = request.headers().contains_key(TRANSFER_ENCODING);
        async move {
            place.busy();
            let mut answer = router.call(request).await;
            place.idle();
            if let (true, Ok(answer)) = (is_last, &mut answer) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    });
    let stream = TokioIo::new(Patient::new(stream, limits.answer_stall_timeout));
    let connection = head_reader(limits.header_timeout).serve_connection(stream, service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = place.evicted() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(error = &error as &dyn std::error::Error, "HTTP connection ended early");
    }
}

/// Says why, if the system takes it at once, and closes. Nothing is read, so the words may be lost on the way: whoever
/// opens that many connections gets no more of us than that.
fn turn_away(stream: &TcpStream) {
    let body = format!(
        r#"{{"type":"/docs#{code}","title":"{title}","status":429,"detail":"too many connections from this address","code":"{code}"}}"#,
        code = ErrorCode::RateLimited.as_str(),
        title = ErrorCode::RateLimited.message(),
    );
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    if let Err(error) = stream.try_write(answer.as_bytes()) {
        debug!(%error, "a connection was turned away without words");
    }
}

/// HTTP/1.1 with our limits.
pub(super) fn head_reader(header_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Counts from the moment the last request is answered, so it covers idle keep-alive too.
    builder.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(HEAD_BYTES_MAX);
    builder
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
