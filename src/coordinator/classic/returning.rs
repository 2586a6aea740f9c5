//! Static members that come back under their instance id (KIP-345).
//!
//! One that comes back to a stable group as it was makes no rebalance: its new member id is stored, and it is told so
//! once that is durable. A coordinator that came back without it would take the member for one that was fenced.

use super::{ClassicGroup, Effect, Effects, GroupError, Joined, Joining, State};

/// A static member whose return is being stored.
#[derive(Debug)]
pub(super) struct Returning<T> {
    /// `None`: it was answered meanwhile, since it is no member any more.
    pub(super) ticket: Option<T>,
    /// Its answer; says of which member and generation.
    joined: Joined,
}

impl<T> ClassicGroup<T> {
    /// A static member has come back under its instance id and gets a new member id (KIP-345).
    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn replace_static(
        &mut self,
        now_ms: u64,
        old: &str,
        id: String,
        joining: Joining,
        understands_skip: bool,
        ticket: T,
        effects: &mut Effects<T>,
    ) {
        let Some(mut member) = self.members.remove(old) else { return };
        let same_metadata = {
            let chosen = self.protocol.as_deref().unwrap_or_default();
            let of = |joining: &Joining| {
                joining.protocols.iter().find(|p| p.name == chosen).map(|p| p.metadata.clone())
            };
            of(&member.joining) == of(&joining)
        };
        if let Some(waiting) = member.join.take() {
            effects.push(Effect::Joined(waiting, Err(GroupError::FencedInstance)));
        }
        if let Some(waiting) = member.sync.take() {
            effects.push(Effect::Synced(waiting, Err(GroupError::FencedInstance)));
        }
        self.refuse_returning(old, &GroupError::FencedInstance, effects);
        let was_leader = self.leader.as_deref() == Some(old);
        if was_leader {
            self.leader = Some(id.clone());
        }
        member.joining = joining;
        member.heard(now_ms);
        self.insert(id.clone(), member);
        if self.state == State::Stable && same_metadata && self.chooses_the_same() {
            // Nothing changes for the others.
            effects.push(Effect::Store { generation: self.generation });
            let answer = self.joined(&id, was_leader && understands_skip);
            let joined = if was_leader && !understands_skip {
                // It would assign anew if it knew that it leads: it is told of its former self instead.
                Joined { leader: old.to_owned(), members: Vec::new(), ..answer }
            } else {
                answer
            };
            if let Some(member) = self.members.get_mut(&id) {
                member.expires_ms = None;
            }
            self.returning.push_back(Returning { ticket: Some(ticket), joined });
            return;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.join = Some(ticket);
            member.expires_ms = None;
        }
        self.prepare(now_ms, effects);
        self.complete_join_if_due(now_ms, effects);
    }

    /// Whoever has come back as that member is none any more. Its store is under way all the same.
    pub(super) fn refuse_returning(&mut self, id: &str, error: &GroupError, effects: &mut Effects<T>) {
        let of_it = self.returning.iter_mut().filter(|returning| returning.joined.member_id == id);
        let tickets = of_it.filter_map(|returning| returning.ticket.take());
        effects.extend(tickets.map(|ticket| Effect::Joined(ticket, Err(error.clone()))));
    }

    /// The store of the member that came back first is over. The answer, if it waits for one.
    pub(super) fn stored_returning(&mut self, now_ms: u64, generation: i32, ok: bool) -> Option<Effect<T>> {
        let first = self.returning.front().filter(|first| first.joined.generation == generation);
        first?;
        let Returning { ticket, joined } = self.returning.pop_front()?;
        let ticket = ticket?;
        // Its session counts from the answer on.
        if let Some(member) = self.members.get_mut(&joined.member_id) {
            member.heard(now_ms);
        }
        Some(Effect::Joined(ticket, if ok { Ok(joined) } else { Err(GroupError::NotStored) }))
    }
}
