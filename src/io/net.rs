//! Sockets on the shard's ring; how responses leave is `send.rs`.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    rc::Rc,
};

use bytes::{BufMut, Bytes, BytesMut};
use io_uring::{opcode, squeue, types::Fd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::{
    ring::{RECEIVE_GROUP, ReceiveLease, Ring, check},
    send::Sending,
};

/// Connections that wait in the kernel to be accepted.
const ACCEPT_BACKLOG: i32 = 4096;
/// `IORING_RECVSEND_POLL_FIRST`: wait for data instead of trying at once.
const POLL_FIRST: u16 = 1;
/// Binds a listening socket that other cores may share (`SO_REUSEPORT`).
///
/// # Errors
/// The address is in use, or not of this host.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket =
        rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, ACCEPT_BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// A listening socket of one core.
pub struct Listener {
    ring: Rc<Ring>,
    socket: Rc<TcpListener>,
    sending: Rc<Sending>,
}

impl Listener {
    /// Serves `socket` on `ring`; its connections send files as `sending` says.
    #[must_use]
    pub fn new(ring: Rc<Ring>, socket: TcpListener, sending: Sending) -> Self {
        Self { ring, socket: Rc::new(socket), sending: Rc::new(sending) }
    }

    /// Ends listening at once. A pending accept would keep the socket open until the kernel has taken the
    /// ring apart, which may be after the end of the process.
    pub fn close(&self) {
        let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Both);
    }

    /// The next connection.
    ///
    /// # Errors
    /// Out of descriptors, or the peer has gone: the listener goes on.
    pub async fn accept(&self) -> io::Result<Connection> {
        let fd = Fd(self.socket.as_raw_fd());
        let entry = opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
            .flags(libc::SOCK_CLOEXEC)
            .build();
        let (result, _, _) = self.ring.start(entry, self.socket.clone()).await;
        let descriptor = check(result)? as i32;
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        sockopt::set_tcp_nodelay(&socket, true)?;
        let (ring, sending) = (self.ring.clone(), self.sending.clone());
        Ok(Connection { ring, socket: Rc::new(socket), sending })
    }
}

/// One connected socket. Clones share it: one task receives, another sends.
#[derive(Clone)]
pub struct Connection {
    ring: Rc<Ring>,
    socket: Rc<OwnedFd>,
    sending: Rc<Sending>,
}

/// What a vectored send points to; boxed, so that it stays where it is.
struct SendState {
    header: libc::msghdr,
    vectors: Vec<libc::iovec>,
    _pieces: Vec<Bytes>,
    _socket: Rc<OwnedFd>,
}

impl Connection {
    /// Address of the other side.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        rustix::net::getpeername(&*self.socket).ok().flatten().and_then(|address| address.try_into().ok())
    }

    fn fd(&self) -> Fd {
        Fd(self.socket.as_raw_fd())
    }

    /// Receives what there is, in a buffer of the shared pool. `None`: the other side has closed.
    ///
    /// One receive at a time, not multishot: what follows may be the body of a large frame, which
    /// [`Connection::receive_into`] takes where it will stay; an armed multishot would put it into pool
    /// buffers, from which it had to be copied.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn receive(&self) -> io::Result<Option<ReceiveLease>> {
        loop {
            let entry = opcode::Recv::new(self.fd(), std::ptr::null_mut(), 0)
                .buf_group(RECEIVE_GROUP)
                .ioprio(POLL_FIRST)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT);
            let returned = self.ring.buffers_returned();
            let (result, flags, _) = self.ring.start(entry, self.socket.clone()).await;
            if result == -libc::ENOBUFS {
                self.ring.more_buffers_than(returned).await;
                continue;
            }
            let length = check(result)?;
            let lease = self.ring.lease(flags, length);
            return Ok(if length == 0 { None } else { lease });
        }
    }

    /// Receives exactly `wanted` more bytes behind what `target` holds, without another copy. The
    /// target must have room for them.
    ///
    /// # Errors
    /// The connection is broken, or was closed before all of it came (`UnexpectedEof`).
    pub async fn receive_into(&self, mut target: BytesMut, wanted: usize) -> io::Result<BytesMut> {
        assert!(target.capacity() - target.len() >= wanted, "no room for {wanted} bytes");
        let mut left = wanted;
        while left > 0 {
            let start = target.spare_capacity_mut().as_mut_ptr().cast();
            let entry = opcode::Recv::new(self.fd(), start, left as u32).flags(libc::MSG_WAITALL).build();
            let (result, _, resource) = self.ring.start(entry, (target, self.socket.clone())).await;
            target = resource.0;
            let length = check(result)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // SAFETY: the kernel has filled `length` bytes of the spare capacity.
            unsafe { target.advance_mut(length) };
            left -= length;
        }
        Ok(target)
    }

    /// Sends all pieces in order with one operation, however long it takes. At most 1024 pieces.
    pub(super) async fn send_whole(&self, pieces: Vec<Bytes>) -> io::Result<()> {
        let wanted: usize = pieces.iter().map(Bytes::len).sum();
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let sent = if let [piece] = &pieces[..] {
            let entry = opcode::Send::new(self.fd(), piece.as_ptr(), piece.len() as u32).flags(flags).build();
            let (result, _, _) = self.ring.start(entry, (pieces, self.socket.clone())).await;
            check(result)?
        } else {
            let vectors = pieces
                .iter()
                .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() })
                .collect();
            // SAFETY: all zero is a valid msghdr: no name, no vectors, no control data.
            let header = unsafe { std::mem::zeroed() };
            let socket = self.socket.clone();
            let mut state = Box::new(SendState { header, vectors, _pieces: pieces, _socket: socket });
            state.header.msg_iov = state.vectors.as_mut_ptr();
            state.header.msg_iovlen = state.vectors.len();
            let entry = opcode::SendMsg::new(self.fd(), &raw const state.header).flags(flags as u32).build();
            let (result, _, _) = self.ring.start(entry, state).await;
            check(result)?
        };
        // MSG_WAITALL makes the kernel go on after a partial send; less than all is a broken connection.
        if sent == wanted { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Waits until the socket takes more, or is broken.
    pub(super) async fn writable(&self) {
        let entry = opcode::PollAdd::new(self.fd(), libc::POLLOUT as u32).build();
        // An error shows in the send that follows.
        let _ = self.ring.start(entry, self.socket.clone()).await;
    }

    pub(super) fn ring(&self) -> &Rc<Ring> {
        &self.ring
    }

    pub(super) fn sending(&self) -> &Sending {
        &self.sending
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Ends the connection: pending and later operations of all clones fail or see its end.
    pub fn shut_down(&self) {
        let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Both);
    }
}
