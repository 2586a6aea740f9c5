//! A connection's fetch session (KIP-227): the broker remembers what was asked, and only changes are said again. What
//! a consumer of thousands of partitions lives by.

/// Epoch of a request that opens a session.
const OPENING: i32 = 0;
/// Epoch of a request outside any session.
const NONE: i32 = -1;

/// FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH: the broker has forgotten it.
pub const LOST: [i16; 2] = [70, 71];

/// Lowest version of Fetch that has sessions.
const VERSION_MIN: i16 = 7;

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// As the broker gave it; 0 is none.
    pub id: i32,
    /// Of the next request.
    pub epoch: i32,
}

impl Session {
    /// Before the first request of a connection, in a version of Fetch.
    pub fn new(version: i16) -> Self {
        Self { id: 0, epoch: if version >= VERSION_MIN { OPENING } else { NONE } }
    }

    /// Whether the next request names every partition, not only those that have changed.
    pub fn asks_for_all(self) -> bool {
        self.epoch <= OPENING
    }

    /// The broker has answered, without an error, and named this session.
    pub fn answered(&mut self, id: i32) {
        self.epoch = match (self.epoch, id) {
            (NONE, _) => NONE,
            // The broker has no room for a session, or has closed this one.
            (_, 0) => OPENING,
            (i32::MAX, _) => 1,
            (epoch, _) => epoch + 1,
        };
        self.id = id;
    }

    /// The broker has forgotten it: the next request opens another.
    pub fn lost(&mut self) {
        *self = Self { id: 0, epoch: OPENING };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_opened_by_a_whole_request_and_continued_by_changes() {
        let mut session = Session::new(17);
        assert!(session.asks_for_all());
        session.answered(9);
        assert_eq!((session, session.asks_for_all()), (Session { id: 9, epoch: 1 }, false));
        session.answered(9);
        assert_eq!(session.epoch, 2);
        session.lost();
        assert_eq!((session, session.asks_for_all()), (Session { id: 0, epoch: 0 }, true));
    }

    #[test]
    fn epochs_go_from_the_largest_on_to_one() {
        let mut session = Session { id: 9, epoch: i32::MAX };
        session.answered(9);
        assert_eq!(session, Session { id: 9, epoch: 1 });
    }

    #[test]
    fn a_broker_without_sessions_is_asked_for_everything_each_time() {
        let mut old = Session::new(6);
        old.answered(0);
        assert_eq!((old, old.asks_for_all()), (Session { id: 0, epoch: -1 }, true));
        let mut full = Session::new(17);
        full.answered(0);
        assert_eq!(full, Session { id: 0, epoch: 0 });
    }
}
