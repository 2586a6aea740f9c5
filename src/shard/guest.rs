//! What rooms to the left keep on a core: they are asked by letter like the shard itself, and the shard does
//! not know what about.

use std::{any::Any, future::Future, pin::Pin, rc::Rc};

use super::{
    Shard,
    work::{Answer, Work},
};
use crate::model::{ShardId, TopicName};

/// A request or an answer; asker and guest know its type.
pub type Parcel = Box<dyn Any + Send>;

/// Serves the parcels that arrive at its core.
pub trait Guest {
    /// Answers one.
    fn serve(self: Rc<Self>, parcel: Parcel) -> Pin<Box<dyn Future<Output = Parcel>>>;

    /// Topics of these names are deleted; the view without them is in force once this is done.
    fn topics_gone(self: Rc<Self>, names: Vec<TopicName>) -> Pin<Box<dyn Future<Output = ()>>>;
}

impl Shard {
    /// Takes a guest in. Once, before the core serves.
    pub fn set_guest(&self, guest: Rc<dyn Guest>) {
        assert!(self.guest.set(guest).is_ok(), "a core has one guest");
    }

    /// Asks the guest of a core.
    pub async fn ask_guest(self: &Rc<Self>, owner: ShardId, parcel: Parcel) -> Parcel {
        match self.work(owner, Work::Guest(parcel)).await {
            Answer::Guest(parcel) => parcel,
            _ => panic!("another answer than that of a guest"),
        }
    }

    pub(super) async fn serve_guest(&self, parcel: Parcel) -> Parcel {
        let guest = self.guest.get().expect("a core has its guest before it serves").clone();
        guest.serve(parcel).await
    }
}
