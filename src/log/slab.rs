//! Things by a small number that is never mistaken for that of something removed earlier.

/// Names a log of one store, until it is deleted; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId {
    slot: u32,
    life: u32,
}

pub(super) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> LogId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let (life, place) = &mut self.slots[slot as usize];
        *place = Some(value);
        LogId { slot, life: *life }
    }

    pub(super) fn get_mut(&mut self, id: LogId) -> Option<&mut T> {
        self.slots.get_mut(id.slot as usize).filter(|slot| slot.0 == id.life)?.1.as_mut()
    }

    pub(super) fn remove(&mut self, id: LogId) -> Option<T> {
        let (life, place) = self.slots.get_mut(id.slot as usize).filter(|slot| slot.0 == id.life)?;
        let removed = place.take()?;
        *life += 1;
        self.free.push(id.slot);
        Some(removed)
    }

    pub(super) fn ids(&self) -> Vec<LogId> {
        let id = |(slot, (life, place)): (usize, &(u32, Option<T>))| {
            place.as_ref().map(|_| LogId { slot: slot as u32, life: *life })
        };
        self.slots.iter().enumerate().filter_map(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_something_removed_finds_nothing_even_if_its_slot_is_used_again() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.ids(), [second]);
    }
}
