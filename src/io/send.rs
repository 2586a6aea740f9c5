//! How a response leaves: pieces of memory and ranges of files, in order, over one socket.
//!
//! Little memory goes as one operation of the ring. Everything large goes in bounded steps, each tried
//! without waiting and each after a [`Ring::bulk_turn`](super::ring::Ring), so that neither a full socket
//! nor a hundred readers hold up the core. Of a file range one chunk is made ready while the one before it
//! is sent:
//!
//! | chunk is                        | made ready by                         | sent by    |
//! |---------------------------------|---------------------------------------|------------|
//! | in the page cache (`cachestat`) | -                                     | `sendfile` |
//! | cold, to be read through cache  | read-ahead on the pool, waited for    | `sendfile` |
//! | cold, to be read past the cache | a direct read on the ring             | `sendmsg`  |
//!
//! What a connection holds while its peer does not read: at most two chunks of a file, given back after
//! [`STUCK_AFTER`] and read again when the peer goes on; and the pieces of memory it was given, which the
//! caller bounds. Small ones among those are copied together first: each may keep a much larger piece
//! of memory from being freed.

use std::{
    cell::Cell,
    collections::VecDeque,
    io::{self, IoSlice},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_lite::{FutureExt, future::zip};
use rustix::{
    io::{Errno, ioctl_fionbio},
    net::{SendAncillaryBuffer, SendFlags, sendmsg},
};

use super::{
    buffer::{AlignedBuffer, block_end, block_start},
    cores,
    direct::{aside, read_direct},
    file_range::{FileRange, Residency},
    net::Connection,
};

/// Bytes of a file that are made ready at once; chunks start at multiples of it.
pub const FILE_CHUNK_BYTES: u64 = 512 << 10;
/// Most bytes of one send: about 100 us of copying.
const SEND_BYTES_MAX: usize = 256 << 10;
/// Responses up to this size go as one operation.
const SMALL_BYTES: usize = 64 << 10;
/// Pieces of memory that one operation may hold on to.
const SMALL_PIECES_MAX: usize = 4;
/// Pieces in one send; the kernel's `UIO_MAXIOV`.
const SEND_PIECES_MAX: usize = 1024;
/// Unsent pieces smaller than this on average are copied together when the socket is full.
const COPIED_BELOW_BYTES: usize = 64 << 10;
/// A peer that takes nothing for this long gets its file chunks read again later.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// A part of a response. Goes to any core.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Bytes in memory, sent as they lie.
    Memory(Bytes),
    /// Bytes of a file, read when they are sent.
    File(FileRange),
}

impl Piece {
    /// Bytes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File(range) => range.len() as usize,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self::Memory(bytes)
    }
}

/// How bytes of files are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilePath {
    /// By `sendfile` what the page cache has, and what another reader wants too; the rest directly.
    Auto,
    /// Through the page cache always.
    Sendfile,
    /// Past the page cache always.
    Direct,
}

/// How one core sends files.
#[derive(Debug)]
pub struct Sending {
    path: FilePath,
    read_aheads_max: usize,
    read_aheads: Cell<usize>,
}

impl Sending {
    /// Sends by `path`, with at most `read_aheads_max` read-aheads of [`FILE_CHUNK_BYTES`] at once.
    #[must_use]
    pub fn new(path: FilePath, read_aheads_max: usize) -> Self {
        Self { path, read_aheads_max, read_aheads: Cell::new(0) }
    }
}

/// What was sent, in bytes by where it came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// From memory.
    pub memory: u64,
    /// By `sendfile`.
    pub sendfile: u64,
    /// Read directly, then sent.
    pub direct: u64,
    /// Chunks of files that were in the page cache when they were asked for.
    pub cache_hits: u64,
    /// Chunks of files that were read ahead into the page cache.
    pub read_aheads: u64,
}

/// A chunk of a file that can be sent without waiting for the disk.
enum Ready {
    Cached(FileRange),
    Read(FileRange, Bytes),
}

/// What to do with a chunk that is wanted next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    SendCached,
    ReadAhead,
    ReadDirect,
}

/// `others`: whether someone else reads the same file now. `room`: whether one more read-ahead is allowed.
fn choose(path: FilePath, residency: impl Fn() -> Residency, others: bool, room: bool) -> Choice {
    if path == FilePath::Direct {
        return Choice::ReadDirect;
    }
    match residency() {
        Residency::Resident => Choice::SendCached,
        // A read-ahead costs more than a direct read: it pays if a second reader finds its pages.
        Residency::Cold if room && (path == FilePath::Sendfile || others) => Choice::ReadAhead,
        Residency::Unknown if room && path == FilePath::Sendfile => Choice::ReadAhead,
        Residency::Cold | Residency::Unknown => Choice::ReadDirect,
    }
}

impl Connection {
    /// Sends all pieces in order, without copying them together.
    ///
    /// # Errors
    /// The connection is broken, or a file cannot be read: some of it may have been sent, and nothing more
    /// may be sent.
    pub async fn send(&self, pieces: Vec<Piece>) -> io::Result<Sent> {
        let mut sent = Sent::default();
        let mut memory = VecDeque::new();
        for piece in pieces {
            match piece {
                Piece::Memory(bytes) => memory.push_back(bytes),
                Piece::File(range) => {
                    self.send_memory(std::mem::take(&mut memory), true, &mut sent).await?;
                    self.send_file(range, &mut sent).await?;
                }
            }
        }
        self.send_memory(memory, false, &mut sent).await?;
        Ok(sent)
    }

    /// `more`: a file follows, so that a packet need not go at once.
    async fn send_memory(&self, pieces: VecDeque<Bytes>, more: bool, sent: &mut Sent) -> io::Result<()> {
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        sent.memory += bytes as u64;
        if bytes == 0 {
            return Ok(());
        }
        if bytes <= SMALL_BYTES && pieces.len() <= SMALL_PIECES_MAX && !more {
            return self.send_whole(pieces.into()).await;
        }
        let mut pieces = pieces;
        while !pieces.is_empty() {
            if !self.try_send(&mut pieces, more).await? {
                copy_together(&mut pieces);
                self.writable().await;
            }
        }
        Ok(())
    }

    /// Sends what the socket takes, at most [`SEND_BYTES_MAX`]. `false`: it takes nothing now.
    async fn try_send(&self, pieces: &mut VecDeque<Bytes>, more: bool) -> io::Result<bool> {
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        if bytes > SMALL_BYTES {
            self.ring().bulk_turn().await;
        }
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(pieces.len().min(SEND_PIECES_MAX));
        let mut left = SEND_BYTES_MAX;
        for piece in pieces.iter().take(SEND_PIECES_MAX) {
            let part = &piece[..piece.len().min(left)];
            left -= part.len();
            slices.push(IoSlice::new(part));
            if left == 0 {
                break;
            }
        }
        let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if more || bytes > SEND_BYTES_MAX - left {
            flags |= SendFlags::MORE;
        }
        match sendmsg(self.socket(), &slices, &mut SendAncillaryBuffer::default(), flags) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => {
                drop_front(pieces, sent);
                Ok(true)
            }
            Err(Errno::INTR) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn send_file(&self, range: FileRange, sent: &mut Sent) -> io::Result<()> {
        let mut left = range;
        let mut ready: Option<Ready> = None;
        while !left.is_empty() {
            let chunk = match ready.take() {
                Some(ready) => ready,
                None => self.make_ready(left.first(FILE_CHUNK_BYTES), sent).await?,
            };
            let (bytes, from_cache) = match &chunk {
                Ready::Cached(range) => (range.len(), true),
                Ready::Read(range, _) => (range.len(), false),
            };
            let behind = left.after(bytes);
            let mut next_sent = Sent::default();
            let next = async {
                let next = behind.first(FILE_CHUNK_BYTES);
                if next.is_empty() { None } else { Some(self.make_ready(next, &mut next_sent).await) }
            };
            let (unsent, next) = zip(self.send_chunk(chunk), next).await;
            let unsent = unsent?;
            if from_cache {
                sent.sendfile += bytes - unsent;
            } else {
                sent.direct += bytes - unsent;
            }
            sent.cache_hits += next_sent.cache_hits;
            sent.read_aheads += next_sent.read_aheads;
            left = left.after(bytes - unsent);
            if unsent > 0 {
                drop(next); // the peer is stuck: it holds nothing until it goes on
                self.writable().await;
            } else {
                ready = next.transpose()?;
            }
        }
        Ok(())
    }

    /// Sees to it that a chunk can be sent without waiting for the disk.
    async fn make_ready(&self, chunk: FileRange, sent: &mut Sent) -> io::Result<Ready> {
        let sending = self.sending();
        let room = sending.read_aheads.get() < sending.read_aheads_max;
        let result = match choose(sending.path, || chunk.residency(), chunk.has_other_readers(), room) {
            Choice::SendCached => {
                sent.cache_hits += 1;
                return Ok(Ready::Cached(chunk));
            }
            Choice::ReadAhead => {
                sent.read_aheads += 1;
                let _place = ReadAhead::new(sending);
                let filled = chunk.clone();
                aside(move || filled.fill_cache()).await.map(|()| Ready::Cached(chunk.clone()))
            }
            Choice::ReadDirect => {
                self.read_chunk(&chunk).await.map(|bytes| Ready::Read(chunk.clone(), bytes))
            }
        };
        if result.is_err() {
            chunk.file().fail();
        }
        result
    }

    async fn read_chunk(&self, chunk: &FileRange) -> io::Result<Bytes> {
        let (start, end) = (chunk.position(), chunk.position() + chunk.len());
        let from = block_start(start);
        let buffer = AlignedBuffer::with_capacity((block_end(end) - from) as usize);
        let buffer = read_direct(self.ring(), chunk.file().direct(), buffer, from).await?;
        if (buffer.len() as u64) < end - from {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(buffer.freeze().slice((start - from) as usize..(end - from) as usize).into_bytes())
    }

    /// Says how many bytes are not sent: none, or what the peer did not take for [`STUCK_AFTER`].
    async fn send_chunk(&self, chunk: Ready) -> io::Result<u64> {
        match chunk {
            Ready::Read(_, bytes) => {
                let mut pieces = VecDeque::from([bytes]);
                while !pieces.is_empty() {
                    if !self.try_send(&mut pieces, false).await? && !self.writable_soon().await {
                        break;
                    }
                }
                Ok(pieces.iter().map(Bytes::len).sum::<usize>() as u64)
            }
            Ready::Cached(mut range) => {
                while !range.is_empty() {
                    let (done, went) = self.try_send_cached(&range).await?;
                    range = range.after(done);
                    if !went {
                        let goes_on = self.writable_soon().await;
                        // Meanwhile the pages may have gone.
                        if !goes_on || range.residency() == Residency::Cold {
                            break;
                        }
                    }
                }
                Ok(range.len())
            }
        }
    }

    /// `sendfile` of at most [`SEND_BYTES_MAX`]: how much went, and whether the socket may take more.
    async fn try_send_cached(&self, range: &FileRange) -> io::Result<(u64, bool)> {
        self.ring().bulk_turn().await;
        let mut at = range.position();
        let wanted = (range.len() as usize).min(SEND_BYTES_MAX);
        // sendfile has no flag of its own for this. No operation of the ring is started meanwhile: they
        // all want a socket that waits.
        ioctl_fionbio(self.socket(), true)?;
        let result = rustix::fs::sendfile(self.socket(), range.file().buffered(), Some(&mut at), wanted);
        ioctl_fionbio(self.socket(), false)?;
        match result {
            Ok(0) => {
                range.file().fail();
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(done) => Ok((done as u64, true)),
            Err(Errno::AGAIN) => Ok((0, false)),
            Err(Errno::INTR) => Ok((0, true)),
            Err(Errno::IO) => {
                range.file().fail();
                Err(Errno::IO.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the socket takes more, but only for [`STUCK_AFTER`].
    async fn writable_soon(&self) -> bool {
        let writable = async {
            self.writable().await;
            true
        };
        let too_late = async {
            cores::sleep(STUCK_AFTER).await;
            false
        };
        writable.or(too_late).await
    }
}

/// A read-ahead under way; counted until it is dropped.
struct ReadAhead<'a>(&'a Sending);

impl<'a> ReadAhead<'a> {
    fn new(sending: &'a Sending) -> Self {
        sending.read_aheads.set(sending.read_aheads.get() + 1);
        Self(sending)
    }
}

impl Drop for ReadAhead<'_> {
    fn drop(&mut self) {
        self.0.read_aheads.set(self.0.read_aheads.get() - 1);
    }
}

fn drop_front(pieces: &mut VecDeque<Bytes>, bytes: usize) {
    let mut left = bytes;
    while let Some(first) = pieces.front_mut() {
        if left < first.len() {
            let _ = first.split_to(left);
            return;
        }
        left -= first.len();
        pieces.pop_front();
    }
}

/// Frees what many small pieces hold on to.
fn copy_together(pieces: &mut VecDeque<Bytes>) {
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    if bytes >= pieces.len() * COPIED_BELOW_BYTES {
        return;
    }
    let mut together = BytesMut::with_capacity(bytes);
    pieces.drain(..).for_each(|piece| together.extend_from_slice(&piece));
    pieces.push_back(together.freeze());
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{SocketAddr, TcpStream},
        sync::{Arc, mpsc},
    };

    use super::{super::ring::tests::on_a_core, *};
    use crate::io::{
        file_range::SharedFile,
        net::{Listener, listen},
    };

    fn file_of(bytes: &[u8]) -> (tempfile::TempDir, Arc<SharedFile>) {
        let directory = tempfile::tempdir_in(".").expect("a directory that takes direct I/O");
        let path = directory.path().join("segment");
        std::fs::write(&path, bytes).expect("write");
        let file = std::fs::File::open(&path).expect("open");
        file.sync_all().expect("sync");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advise");
        (directory, Arc::new(SharedFile::open(&path).expect("open shared")))
    }

    /// Sends pieces to a client that begins to read after `pause`; what it got, and how it was sent.
    fn sent_over(sending: Sending, pieces: Vec<Piece>, pause: Duration) -> (Vec<u8>, io::Result<Sent>) {
        let (to_client, address) = mpsc::channel::<SocketAddr>();
        let (to_us, outcome) = mpsc::channel();
        let client = std::thread::spawn(move || {
            let mut socket = TcpStream::connect(address.recv().expect("address")).expect("connect");
            std::thread::sleep(pause);
            let mut bytes = Vec::new();
            let _ = socket.read_to_end(&mut bytes);
            bytes
        });
        on_a_core(move |ring| async move {
            let socket = listen("127.0.0.1:0".parse().expect("address")).expect("listen");
            to_client.send(socket.local_addr().expect("address")).expect("send");
            let connection = Listener::new(ring, socket, sending).accept().await.expect("accept");
            to_us.send(connection.send(pieces).await).expect("send");
            connection.shut_down();
        });
        (client.join().expect("client"), outcome.recv().expect("outcome"))
    }

    fn text(bytes: usize) -> Vec<u8> {
        (0..bytes as u32).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
    }

    #[test]
    fn bytes_of_memory_and_files_arrive_in_order_on_every_path() {
        let bytes = text(3_000_001);
        for path in [FilePath::Auto, FilePath::Sendfile, FilePath::Direct] {
            let (_directory, file) = file_of(&bytes);
            let memory = |range: std::ops::Range<usize>| Piece::Memory(Bytes::copy_from_slice(&bytes[range]));
            let range = |from: u64, to: u64| Piece::File(FileRange::new(file.clone(), from, to - from));
            let mut pieces = vec![memory(0..10), memory(10..700_000), range(700_000, 2_500_003)];
            pieces.extend((0..1_500).map(|i| memory(2_500_003 + i * 10..2_500_013 + i * 10)));
            pieces.extend([range(2_515_003, 2_515_004), range(2_515_004, 3_000_001)]);
            let (got, sent) = sent_over(Sending::new(path, 2), pieces, Duration::ZERO);
            let sent = sent.expect("sent");
            assert!(got == bytes, "{path:?}: {} bytes arrived", got.len());
            assert_eq!(sent.memory + sent.sendfile + sent.direct, 3_000_001, "{path:?}: {sent:?}");
            match path {
                FilePath::Direct => assert_eq!((sent.sendfile, sent.read_aheads), (0, 0)),
                FilePath::Sendfile => assert!(sent.direct == 0 && sent.read_aheads > 0, "{sent:?}"),
                FilePath::Auto => {}
            }
            assert!(!file.is_read(), "nobody holds the file any more");
        }
    }

    #[test]
    fn where_no_chunk_may_be_read_ahead_a_cold_file_is_read_directly() {
        let bytes = text(3 << 20);
        let (_directory, file) = file_of(&bytes);
        let range = FileRange::new(file, 0, bytes.len() as u64);
        let (got, sent) =
            sent_over(Sending::new(FilePath::Sendfile, 0), vec![Piece::File(range)], Duration::ZERO);
        let sent = sent.expect("sent");
        assert!(got == bytes, "{} bytes arrived", got.len());
        assert!(sent.read_aheads == 0 && sent.direct > 0, "{sent:?}");
    }

    #[test]
    fn a_peer_that_pauses_gets_everything_when_it_goes_on() {
        let bytes = text(12 << 20);
        for path in [FilePath::Sendfile, FilePath::Direct] {
            let (_directory, file) = file_of(&bytes);
            let range = FileRange::new(file, 0, bytes.len() as u64);
            let pause = STUCK_AFTER + Duration::from_millis(300);
            let (got, sent) = sent_over(Sending::new(path, 2), vec![Piece::File(range)], pause);
            sent.expect("sent");
            assert!(got == bytes, "{path:?}: {} bytes arrived", got.len());
        }
    }

    #[test]
    fn a_file_that_became_shorter_ends_the_connection_and_is_marked() {
        for path in [FilePath::Sendfile, FilePath::Direct] {
            let (directory, file) = file_of(&text(2_000_000));
            let name = directory.path().join("segment");
            let cut = std::fs::OpenOptions::new().write(true).open(name).expect("open");
            cut.set_len(900_000).expect("cut");
            let range = FileRange::new(file.clone(), 0, 2_000_000);
            let (got, sent) = sent_over(Sending::new(path, 2), vec![Piece::File(range)], Duration::ZERO);
            assert!(sent.is_err() && got.len() <= 900_000, "{path:?}: {sent:?}, {} bytes", got.len());
            assert!(file.has_failed(), "{path:?}");
        }
    }

    #[test]
    fn a_chunk_goes_through_the_page_cache_only_where_that_never_waits_for_the_disk() {
        use Choice::{ReadAhead, ReadDirect, SendCached};
        use Residency::{Cold, Resident, Unknown};
        let chosen = |path, residency, others, room| choose(path, || residency, others, room);
        for (others, room) in [(false, false), (false, true), (true, false), (true, true)] {
            for residency in [Resident, Cold, Unknown] {
                assert_eq!(chosen(FilePath::Direct, residency, others, room), ReadDirect);
            }
            assert_eq!(chosen(FilePath::Auto, Resident, others, room), SendCached);
            assert_eq!(chosen(FilePath::Auto, Unknown, others, room), ReadDirect);
            let shared = if others && room { ReadAhead } else { ReadDirect };
            assert_eq!(chosen(FilePath::Auto, Cold, others, room), shared);
            let through = if room { ReadAhead } else { ReadDirect };
            assert_eq!(chosen(FilePath::Sendfile, Cold, others, room), through);
            assert_eq!(chosen(FilePath::Sendfile, Unknown, others, room), through);
        }
    }

    #[test]
    fn many_small_pieces_are_copied_together_and_large_ones_are_not() {
        let mut small: VecDeque<_> = (0..10).map(|i| Bytes::from(vec![i; 1_000])).collect();
        copy_together(&mut small);
        assert_eq!(small.len(), 1);
        assert!(small[0].chunks(1_000).enumerate().all(|(i, part)| part.iter().all(|&b| b == i as u8)));
        let mut large: VecDeque<_> = (0..2).map(|i| Bytes::from(vec![i; COPIED_BELOW_BYTES])).collect();
        copy_together(&mut large);
        assert_eq!(large.len(), 2);
        drop_front(&mut large, COPIED_BELOW_BYTES + 5);
        assert_eq!((large.len(), large[0].len()), (1, COPIED_BELOW_BYTES - 5));
    }
}
