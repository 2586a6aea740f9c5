//! Loopback: how much goes through, and how long a message there and back takes.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::gb_per_s;
use crate::stats::Times;

/// Bytes of one write.
const WRITE_BYTES: usize = 256 << 10;
/// Bytes of a message there and back.
const MESSAGE_BYTES: usize = 64;
/// Connections at once.
const STREAMS: [usize; 3] = [1, 4, 16];

/// What loopback can do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Network {
    streams: Vec<Streams>,
    ping_pong_parked: PingPong,
    ping_pong_spinning: PingPong,
}

#[derive(Debug, Serialize, Deserialize)]
struct Streams {
    connections: usize,
    gb_per_s: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct PingPong {
    p50_us: f64,
    p99_us: f64,
}

impl Network {
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Streams { connections, gb_per_s } in &self.streams {
            let name = format!("loopback, {connections} connections");
            let _ = writeln!(text, "{name:<32}{gb_per_s:>10.2} GB/s");
        }
        for (name, times) in [("parked", &self.ping_pong_parked), ("spinning", &self.ping_pong_spinning)] {
            let name = format!("there and back, {name}, p50");
            let _ = writeln!(text, "{name:<32}{:>10.1} us, p99 {:.1} us", times.p50_us, times.p99_us);
        }
        text + "\n"
    }
}

pub fn measure(step: Duration) -> io::Result<Network> {
    let streams = STREAMS.iter().map(|connections| {
        Ok(Streams { connections: *connections, gb_per_s: throughput(*connections, step)? })
    });
    Ok(Network {
        streams: streams.collect::<io::Result<_>>()?,
        ping_pong_parked: ping_pong(step, false)?,
        ping_pong_spinning: ping_pong(step, true)?,
    })
}

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    one.set_nodelay(true)?;
    other.set_nodelay(true)?;
    Ok((one, other))
}

fn throughput(connections: usize, step: Duration) -> io::Result<f64> {
    let pairs = (0..connections).map(|_| pair()).collect::<io::Result<Vec<_>>>()?;
    let began = Instant::now();
    let received: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = pairs
            .into_iter()
            .map(|(mut sender, mut receiver)| {
                scope.spawn(move || {
                    let block = vec![0_u8; WRITE_BYTES];
                    // The receiver sees the end when this is dropped.
                    while sender.write_all(&block).is_ok() && began.elapsed() < step {}
                });
                scope.spawn(move || {
                    let mut block = vec![0_u8; WRITE_BYTES];
                    let mut total = 0;
                    while let Ok(bytes @ 1..) = receiver.read(&mut block) {
                        total += bytes as u64;
                    }
                    total
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap_or(0)).sum()
    });
    Ok(gb_per_s(received, began.elapsed()))
}

/// Reads a whole message: asleep until it comes, or asking again and again.
fn take(socket: &mut TcpStream, message: &mut [u8], spin: bool) -> io::Result<()> {
    if !spin {
        return socket.read_exact(message);
    }
    let mut filled = 0;
    while filled < message.len() {
        match socket.read(&mut message[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn ping_pong(step: Duration, spin: bool) -> io::Result<PingPong> {
    let (mut one, mut other) = pair()?;
    one.set_nonblocking(spin)?;
    other.set_nonblocking(spin)?;
    let mut times = Times::default();
    std::thread::scope(|scope| -> io::Result<()> {
        scope.spawn(move || {
            let mut message = [0; MESSAGE_BYTES];
            while take(&mut other, &mut message, spin).is_ok() && other.write_all(&message).is_ok() {}
        });
        let began = Instant::now();
        let mut message = [7; MESSAGE_BYTES];
        while times.histogram().is_empty() || began.elapsed() < step {
            let sent = Instant::now();
            one.write_all(&message)?;
            take(&mut one, &mut message, spin)?;
            times.record(sent.elapsed().as_nanos() as u64, 1);
        }
        // The other side ends when it sees this.
        one.shutdown(std::net::Shutdown::Both)
    })?;
    let at = |quantile: f64| times.at(quantile) as f64 / 1e3;
    Ok(PingPong { p50_us: at(0.5), p99_us: at(0.99) })
}
