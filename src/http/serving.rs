//! Connections of HTTP: how many there are at a time, and how long each may be silent.
//!
//! Whoever reaches the port takes descriptors that Kafka's clients need too. So a bounded number of connections is
//! accepted, and one on which nothing comes, or nothing is taken, is closed. Those beyond wait in the kernel's queue,
//! where they cost the process nothing.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Sleep, sleep},
};

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections at the same time.
    pub(super) connections_max: usize,
    /// How long until the head of a request is there, from the connection's begin or the last answer; how long
    /// bytes of an answer may wait for the other side.
    pub(super) silence_max: Duration,
}

/// A browser has up to six connections for a page, everybody else that watches one.
pub(super) const BOUNDS: Bounds = Bounds { connections_max: 64, silence_max: Duration::from_secs(30) };

/// After an accept that failed for want of something, as descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves until the process ends.
///
/// # Errors
/// The listener is none that can be waited for.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    bounds: Bounds,
) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.silence_max);
    loop {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let stream = Taken { stream: accept(&listener).await, silence_max: bounds.silence_max, waits: None };
        let connection =
            http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            let _until_closed = place;
            // Why a client has gone matters to nobody.
            let _ = connection.await;
        });
    }
}

/// A connection that fails once it has taken nothing of an answer for too long. The head of a request has its bound
/// in hyper; what follows a head is not waited for.
struct Taken {
    stream: TcpStream,
    silence_max: Duration,
    /// Runs while bytes wait.
    waits: Option<Pin<Box<Sleep>>>,
}

impl Taken {
    fn bounded<T>(&mut self, context: &mut Context<'_>, taken: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if taken.is_ready() {
            self.waits = None;
            return taken;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(self.silence_max)));
        ready!(waits.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Taken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if [ConnectionAborted, ConnectionReset].contains(&error.kind()) => {}
            Err(error) => {
                tracing::warn!(%error, "HTTP takes no connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpStream},
        thread,
    };

    use axum::{body::Bytes, routing::get};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(50);
    /// More than the kernel takes for a client that does not read.
    const MUCH: usize = 64 << 20;

    fn served(connections_max: usize, silence_max: Duration) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let much = Bytes::from(vec![b'x'; MUCH]);
        let router =
            Router::new().route("/", get(|| async { "here" })).route("/much", get(|| async { much }));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, router, Bounds { connections_max, silence_max }))
        });
        address
    }

    /// Waits for an answer only as long as it takes to tell that none will come.
    fn connect(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream
    }

    fn ask(mut stream: &TcpStream) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    }

    fn check_answer(mut stream: &TcpStream) {
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }

    #[test]
    fn a_connection_beyond_the_bound_is_answered_once_another_has_gone() {
        let address = served(2, LONG);
        let (first, second) = (connect(address), connect(address));
        for stream in [&first, &second] {
            ask(stream);
            check_answer(stream);
        }
        let mut beyond = connect(address);
        ask(&beyond);
        for _ in 0..20 {
            ask(&first);
            check_answer(&first);
        }
        beyond.set_nonblocking(true).unwrap();
        assert_eq!(beyond.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        beyond.set_nonblocking(false).unwrap();
        drop(second);
        check_answer(&beyond);
    }

    #[test]
    fn who_sends_no_whole_request_is_let_go() {
        let address = served(1, SHORT);
        let (silent, slow, done) = (connect(address), connect(address), connect(address));
        (&slow).write_all(b"GET / HT").unwrap();
        ask(&done);
        // One after the other, as there is one place.
        for (mut stream, answered) in [(silent, false), (slow, false), (done, true)] {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert_eq!(answer.ends_with(b"here"), answered, "{}", String::from_utf8_lossy(&answer));
        }
    }

    #[test]
    fn who_does_not_take_an_answer_is_let_go() {
        let address = served(1, SHORT);
        let stuck = connect(address);
        (&stuck).write_all(b"GET /much HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
        let next = connect(address);
        ask(&next);
        check_answer(&next);
    }
}
