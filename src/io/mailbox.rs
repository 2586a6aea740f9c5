//! Messages between threads: bounded queues with one sender and one receiver each.
//!
//! The receiver's driver drains its queues every turn (0.4 us there and back while both are busy); a
//! doorbell wakes it when it is parked.

use std::sync::Arc;

use super::doorbell::Doorbell;

/// Messages that one queue holds before its sender has to wait.
pub const MAILBOX_MESSAGES_MAX: usize = 1024;

/// The sending end. Moves to the sender's thread.
pub struct MailSender<T> {
    queue: rtrb::Producer<T>,
    doorbell: Arc<Doorbell>,
}

/// The receiving end. Moves to the receiver's thread.
pub struct MailReceiver<T> {
    queue: rtrb::Consumer<T>,
}

/// A queue to the owner of `doorbell`.
#[must_use]
pub fn mailbox<T>(doorbell: Arc<Doorbell>) -> (MailSender<T>, MailReceiver<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(MAILBOX_MESSAGES_MAX);
    (MailSender { queue: producer, doorbell }, MailReceiver { queue: consumer })
}

impl<T> MailSender<T> {
    /// Sends a message, or gives it back if the queue is full.
    ///
    /// # Errors
    /// The message, if there is no room.
    pub fn send(&mut self, message: T) -> Result<(), T> {
        self.queue.push(message).map_err(|rtrb::PushError::Full(message)| message)?;
        self.doorbell.ring();
        Ok(())
    }
}

impl<T> MailReceiver<T> {
    /// The next message, if there is one.
    pub fn take(&mut self) -> Option<T> {
        self.queue.pop().ok()
    }
}
