//! Topic partition to core: a direct call, or a message and its answer.
//!
//! Each ordered pair of cores has one bounded queue. What does not fit waits in an outbox that the
//! driver empties every turn; outboxes are bounded by the calls in flight, and those by connections
//! times requests in flight.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    config::Settings,
    control::{Applied, ControlReply},
    io::{
        mailbox::{MailReceiver, MailSender},
        signal::Signal,
    },
    model::{ClusterView, ShardId},
};

use super::work::{Answer, Work};

/// Names a call of one core among its calls in flight.
pub type Ticket = u32;

/// What cores, and control, send to a core.
pub enum Letter {
    /// Do this and answer.
    Call {
        /// Who asks.
        from: ShardId,
        /// To be named in the answer.
        ticket: Ticket,
        /// What to do.
        work: Work,
        /// When it was written, by the clock that cores share, in microseconds; none if nobody counts it.
        written_us: Option<u64>,
    },
    /// Nobody waits for more: answer with what there is.
    Cancel {
        /// Who asked.
        from: ShardId,
        /// The call.
        ticket: Ticket,
    },
    /// The result of a call.
    Answer {
        /// The call.
        ticket: Ticket,
        /// Its result.
        answer: Answer,
        /// When it was written, as in a call.
        written_us: Option<u64>,
    },
    /// Live settings have changed: these hold from now on.
    Settings(Arc<Settings>),
    /// Control's answer to a request of this core.
    Control {
        /// The call.
        ticket: Ticket,
        /// Its result.
        reply: ControlReply,
    },
    /// Control has decided something.
    View {
        /// The cluster from now on.
        view: Arc<ClusterView>,
        /// Called once partitions are opened and closed accordingly.
        applied: Applied,
    },
    /// Every core has recovered, and the new generation is the valid one: serve.
    Serve,
    /// Finish what is in flight, flush, end.
    Stop,
}

enum Call {
    Waiting(Option<Waker>),
    Answered(Reply),
    /// Nobody waits any more; the ticket is free once the answer is in.
    Abandoned,
}

enum Reply {
    Shard(Answer),
    Control(ControlReply),
}

struct Peer {
    sender: MailSender<Letter>,
    outbox: VecDeque<Letter>,
}

/// Letters out, answers in.
pub struct Router {
    own: ShardId,
    peers: RefCell<Vec<Option<Peer>>>,
    incoming: RefCell<Vec<MailReceiver<Letter>>>,
    calls: RefCell<HashMap<Ticket, Call>>,
    next_ticket: std::cell::Cell<Ticket>,
    /// Waiting reads of other cores that may be cancelled.
    cancels: RefCell<HashMap<(ShardId, Ticket), Rc<Signal>>>,
}

impl Router {
    /// `senders` by shard id, with `None` at our own place; `incoming` from all others and control.
    #[must_use]
    pub fn new(
        own: ShardId,
        senders: Vec<Option<MailSender<Letter>>>,
        incoming: Vec<MailReceiver<Letter>>,
    ) -> Rc<Self> {
        let peer = |sender| Peer { sender, outbox: VecDeque::new() };
        Rc::new(Self {
            own,
            peers: RefCell::new(senders.into_iter().map(|sender| sender.map(peer)).collect()),
            incoming: RefCell::new(incoming),
            calls: RefCell::default(),
            next_ticket: std::cell::Cell::new(0),
            cancels: RefCell::default(),
        })
    }

    /// Sends a letter to another core; it arrives after all that were sent there before.
    pub fn post(&self, to: ShardId, letter: Letter) {
        let mut peers = self.peers.borrow_mut();
        let peer = peers[to.index()].as_mut().expect("no letters to ourselves");
        if peer.outbox.is_empty() {
            if let Err(letter) = peer.sender.send(letter) {
                peer.outbox.push_back(letter);
            }
        } else {
            peer.outbox.push_back(letter);
        }
    }

    /// Sends what waited for room. Says how many letters still wait.
    pub fn flush(&self) -> usize {
        let mut left = 0;
        for peer in self.peers.borrow_mut().iter_mut().flatten() {
            while let Some(letter) = peer.outbox.pop_front() {
                if let Err(letter) = peer.sender.send(letter) {
                    peer.outbox.push_front(letter);
                    break;
                }
            }
            left += peer.outbox.len();
        }
        left
    }

    /// The next letter to this core.
    pub fn next_letter(&self) -> Option<Letter> {
        self.incoming.borrow_mut().iter_mut().find_map(MailReceiver::take)
    }

    fn open_ticket(&self) -> Ticket {
        let mut calls = self.calls.borrow_mut();
        loop {
            let ticket = self.next_ticket.get();
            self.next_ticket.set(ticket.wrapping_add(1));
            if let std::collections::hash_map::Entry::Vacant(entry) = calls.entry(ticket) {
                entry.insert(Call::Waiting(None));
                return ticket;
            }
        }
    }

    /// Sends work to another core, in order, at once; the future is its answer. Dropping it cancels. `written_us` as in
    /// [`Letter::Call`].
    pub fn call(self: &Rc<Self>, to: ShardId, work: Work, written_us: Option<u64>) -> ShardCall {
        let ticket = self.open_ticket();
        self.post(to, Letter::Call { from: self.own, ticket, work, written_us });
        ShardCall { router: self.clone(), to, ticket }
    }

    /// Opens a call whose answer comes as [`Letter::Control`].
    pub fn control_call(self: &Rc<Self>) -> (Ticket, ControlCall) {
        let ticket = self.open_ticket();
        (ticket, ControlCall { router: self.clone(), ticket })
    }

    /// An answer has come in.
    pub fn answered(&self, ticket: Ticket, answer: Answer) {
        self.reply(ticket, Reply::Shard(answer));
    }

    /// Control's answer has come in.
    pub fn control_answered(&self, ticket: Ticket, reply: ControlReply) {
        self.reply(ticket, Reply::Control(reply));
    }

    fn reply(&self, ticket: Ticket, reply: Reply) {
        let mut calls = self.calls.borrow_mut();
        let call = calls.get_mut(&ticket).expect("an answer has a call");
        match std::mem::replace(call, Call::Answered(reply)) {
            Call::Waiting(waker) => {
                drop(calls);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Call::Abandoned => {
                calls.remove(&ticket);
            }
            Call::Answered(_) => panic!("call {ticket} answered twice"),
        }
    }

    fn poll(&self, ticket: Ticket, context: &Context<'_>) -> Poll<Reply> {
        let mut calls = self.calls.borrow_mut();
        match calls.get_mut(&ticket) {
            Some(Call::Waiting(waker)) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            Some(Call::Answered(_)) => match calls.remove(&ticket) {
                Some(Call::Answered(reply)) => Poll::Ready(reply),
                _ => unreachable!("just seen"),
            },
            Some(Call::Abandoned) | None => panic!("call {ticket} polled after its end"),
        }
    }

    /// Forgets a call. Says whether its answer is still to come.
    fn abandon(&self, ticket: Ticket) -> bool {
        let mut calls = self.calls.borrow_mut();
        match calls.get_mut(&ticket) {
            Some(call @ Call::Waiting(_)) => {
                *call = Call::Abandoned;
                true
            }
            Some(Call::Answered(_)) => {
                calls.remove(&ticket);
                false
            }
            Some(Call::Abandoned) | None => false,
        }
    }

    /// A read of another core begins to wait; the notification ends its wait.
    pub fn cancellable(&self, from: ShardId, ticket: Ticket) -> Rc<Signal> {
        self.cancels.borrow_mut().entry((from, ticket)).or_default().clone()
    }

    /// The read has ended.
    pub fn ended(&self, from: ShardId, ticket: Ticket) {
        self.cancels.borrow_mut().remove(&(from, ticket));
    }

    /// The other core waits no longer.
    pub fn cancel(&self, from: ShardId, ticket: Ticket) {
        if let Some(notify) = self.cancels.borrow().get(&(from, ticket)) {
            notify.raise();
        }
    }
}

/// The answer of another core.
pub struct ShardCall {
    router: Rc<Router>,
    to: ShardId,
    ticket: Ticket,
}

impl Future for ShardCall {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        self.router.poll(self.ticket, context).map(|reply| match reply {
            Reply::Shard(answer) => answer,
            Reply::Control(_) => panic!("control answered a call between cores"),
        })
    }
}

impl ShardCall {
    /// Asks the other core to answer with what there is.
    pub fn hurry(&self) {
        self.router.post(self.to, Letter::Cancel { from: self.router.own, ticket: self.ticket });
    }
}

impl Drop for ShardCall {
    fn drop(&mut self) {
        if self.router.abandon(self.ticket) {
            self.hurry();
        }
    }
}

/// The answer of control.
pub struct ControlCall {
    router: Rc<Router>,
    ticket: Ticket,
}

impl Future for ControlCall {
    type Output = ControlReply;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ControlReply> {
        self.router.poll(self.ticket, context).map(|reply| match reply {
            Reply::Control(reply) => reply,
            Reply::Shard(_) => panic!("a core answered a call to control"),
        })
    }
}

impl Drop for ControlCall {
    fn drop(&mut self) {
        self.router.abandon(self.ticket);
    }
}
