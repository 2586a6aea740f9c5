//! Memory that the kernel may read and write directly: aligned, owned, shared once filled.
//!
//! Three forms of one allocation:
//!
//! - [`AlignedBuffer`]: one owner, mutable; reads land in it, groups are built in it.
//! - [`AlignedSlice`]: a shared, immutable part; what writes take, what fetches send. Goes to any core.
//! - [`Chunk`]: append-only; what lies below `filled` is shared as slices while the rest is written.

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    ops::{Deref, DerefMut, Range},
    ptr::NonNull,
    sync::Arc,
};

use bytes::Bytes;

/// Alignment of direct I/O in memory and on disk, in bytes.
pub const BLOCK: usize = 4096;

/// `bytes` rounded up to whole blocks.
#[must_use]
pub const fn round_up(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK) * BLOCK
}

/// `position` rounded down to the start of its block.
#[must_use]
pub const fn block_start(position: u64) -> u64 {
    position - position % BLOCK as u64
}

/// `position` rounded up to the end of its block.
#[must_use]
pub const fn block_end(position: u64) -> u64 {
    position.div_ceil(BLOCK as u64) * BLOCK as u64
}

struct Memory {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: `Memory` owns its allocation and has no thread affinity; who may read or write which bytes
// is decided by the three public types below.
unsafe impl Send for Memory {}
// SAFETY: as above; shared access is read-only except for the unfilled part of a `Chunk`, which only
// its one, non-clonable owner writes.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(capacity: usize) -> Self {
        let capacity = round_up(capacity.max(1));
        let layout = Self::layout(capacity);
        // SAFETY: the layout's size is at least one block, so it is not zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        Self { start, capacity }
    }

    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity, BLOCK).expect("capacity is far below isize::MAX")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, freed once, here.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.capacity)) }
    }
}

/// A block-aligned buffer with one owner. Its capacity is whole blocks; its length is what is filled.
pub struct AlignedBuffer {
    memory: Memory,
    length: usize,
}

impl AlignedBuffer {
    /// An empty buffer for `capacity` bytes, rounded up to whole blocks.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { memory: Memory::new(capacity), length: 0 }
    }

    /// Bytes it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.capacity
    }

    /// Bytes that can still be appended.
    #[must_use]
    pub fn free(&self) -> usize {
        self.memory.capacity - self.length
    }

    /// Copies `bytes` behind what is there.
    ///
    /// # Panics
    /// If they do not fit: the caller has asked [`AlignedBuffer::free`].
    pub fn extend(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.free(), "{} bytes into {} free", bytes.len(), self.free());
        // SAFETY: the target lies within the allocation (asserted) and is not part of `bytes`, since
        // this buffer is borrowed mutably.
        unsafe {
            let target = self.memory.start.as_ptr().add(self.length);
            target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.length += bytes.len();
    }

    /// Fills with zeros up to a whole block.
    pub fn pad_to_block(&mut self) {
        let padding = round_up(self.length) - self.length;
        self.extend(&[0; BLOCK][..padding]);
    }

    /// Forgets the contents, keeps the memory.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Keeps the first `length` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn truncate(&mut self, length: usize) {
        assert!(length <= self.length, "truncate {} bytes to {length}", self.length);
        self.length = length;
    }

    /// Shares the contents; no one can change them any more.
    #[must_use]
    pub fn freeze(self) -> AlignedSlice {
        let range = 0..self.length;
        AlignedSlice { memory: Arc::new(self.memory), range }
    }

    /// Start of the memory, for a kernel read of up to `capacity` bytes.
    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory.start.as_ptr()
    }

    /// Says how many bytes, from the start, a kernel read has filled.
    pub(super) fn set_filled(&mut self, length: usize) {
        assert!(length <= self.memory.capacity, "{length} of {}", self.memory.capacity);
        self.length = length;
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the first `length` bytes are initialized (extend, set_filled) and owned by self.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), self.length) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and self is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.length) }
    }
}

/// An immutable, reference-counted part of aligned memory. Sent between cores and to the kernel.
#[derive(Clone)]
pub struct AlignedSlice {
    memory: Arc<Memory>,
    range: Range<usize>,
}

impl AlignedSlice {
    /// The part of this slice, in bytes from its start.
    ///
    /// # Panics
    /// If the range is not within the slice.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {}", self.len());
        let start = self.range.start;
        Self { memory: self.memory.clone(), range: start + range.start..start + range.end }
    }

    /// The buffer again, empty, if this was the last slice of its memory.
    #[must_use]
    pub fn into_buffer(self) -> Option<AlignedBuffer> {
        Arc::into_inner(self.memory).map(|memory| AlignedBuffer { memory, length: 0 })
    }

    /// The slice as `Bytes`, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Whether start and length are whole blocks, as direct I/O wants them.
    #[must_use]
    pub fn is_block_aligned(&self) -> bool {
        self.range.start.is_multiple_of(BLOCK) && self.len().is_multiple_of(BLOCK)
    }
}

impl Deref for AlignedSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a slice is only made of initialized bytes that nobody writes any more.
        unsafe {
            std::slice::from_raw_parts(self.memory.start.as_ptr().add(self.range.start), self.range.len())
        }
    }
}

impl AsRef<[u8]> for AlignedSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Append-only memory: one owner appends, any number of slices of the filled part are read meanwhile.
pub struct Chunk {
    memory: Arc<Memory>,
    filled: usize,
}

impl Chunk {
    /// An empty chunk for `capacity` bytes, rounded up to whole blocks.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { memory: Arc::new(Memory::new(capacity)), filled: 0 }
    }

    /// Bytes it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.capacity
    }

    /// Bytes appended so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Appends as much of `bytes` as fits and says how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.memory.capacity - self.filled);
        // SAFETY: the target lies within the allocation, and behind `filled`, where no slice reaches;
        // this is the one owner, and it is borrowed mutably.
        unsafe {
            let target = self.memory.start.as_ptr().add(self.filled);
            target.copy_from_nonoverlapping(bytes.as_ptr(), taken);
        }
        self.filled += taken;
        taken
    }

    /// Shares a part of what was appended.
    ///
    /// # Panics
    /// If the range reaches past what was appended.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> AlignedSlice {
        assert!(range.start <= range.end && range.end <= self.filled, "{range:?} of {}", self.filled);
        AlignedSlice { memory: self.memory.clone(), range }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_takes_what_fits_and_its_slices_stay_while_it_grows() {
        let mut chunk = Chunk::with_capacity(1);
        assert_eq!(chunk.capacity(), BLOCK);
        assert_eq!(chunk.append(&[7; 4000]), 4000);
        let early = chunk.slice(0..4000);
        assert_eq!(chunk.append(&[8; 4000]), 96);
        assert!(early.iter().all(|&b| b == 7));
        assert_eq!(chunk.slice(4000..4096).into_bytes(), vec![8; 96]);
    }

    #[test]
    fn the_last_slice_gives_the_buffer_back() {
        let mut buffer = AlignedBuffer::with_capacity(10);
        buffer.extend(b"abc");
        buffer.pad_to_block();
        let slice = buffer.freeze();
        assert!(slice.is_block_aligned());
        let other = slice.slice(0..3);
        assert_eq!(&other[..], b"abc");
        assert!(slice.into_buffer().is_none());
        assert_eq!(other.into_buffer().map(|b| b.len()), Some(0));
    }
}
