//! Which shard a partition lives on: an explicit table, never a hash of the core count.
//!
//! Traffic is per topic, so a topic is spread first: a new partition goes to a shard that holds the
//! fewest of its topic, among these to one that holds the fewest of all, among these to the lowest.

use crate::model::{ClusterView, ShardId, TopicId, TopicView};

/// How many partitions each shard holds, by shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loads(Vec<usize>);

/// One partition and the shard it shall live on from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The topic.
    pub topic: TopicId,
    /// The partition's index.
    pub partition: i32,
    /// Its new shard.
    pub shard: ShardId,
}

impl Loads {
    /// Counts these topics' partitions; shards from `shards` on are not counted.
    pub fn count<'a>(shards: u16, topics: impl Iterator<Item = &'a TopicView>) -> Self {
        let mut loads = Self(vec![0; usize::from(shards)]);
        for partition in topics.flat_map(|topic| &topic.partitions) {
            if let Some(load) = loads.0.get_mut(partition.shard.index()) {
                *load += 1;
            }
        }
        loads
    }

    /// Takes the place for one more partition of a topic whose partitions lie as `topic` says.
    fn place(&mut self, topic: &mut Self) -> ShardId {
        let best = (0..self.0.len()).min_by_key(|&shard| (topic.0[shard], self.0[shard], shard));
        let shard = best.unwrap_or_else(|| panic!("a node has at least one shard"));
        self.0[shard] += 1;
        topic.0[shard] += 1;
        ShardId(shard as u16)
    }
}

/// Shards for `count` new partitions of a topic (`None`: a topic that is new itself).
#[must_use]
pub fn place_new(view: &ClusterView, shards: u16, topic: Option<&TopicView>, count: usize) -> Vec<ShardId> {
    let mut all = Loads::count(shards, view.topics().map(|topic| &**topic));
    let mut own = Loads::count(shards, topic.into_iter());
    (0..count).map(|_| all.place(&mut own)).collect()
}

/// The fewest moves after which every partition lies on one of `shards` shards, evenly: no shard
/// holds two more than another.
#[must_use]
pub fn rebalance(view: &ClusterView, shards: u16) -> Vec<Move> {
    let mut all = Loads::count(shards, view.topics().map(|topic| &**topic));
    let mut topics: Vec<Layout> = view.topics().map(|topic| Layout::of(topic, shards)).collect();
    for topic in &mut topics {
        for index in 0..topic.shards.len() {
            if topic.shards[index].index() >= usize::from(shards) {
                topic.shards[index] = all.place(&mut topic.loads);
            }
        }
    }
    while let Some((from, to)) = all.uneven() {
        // Some topic holds more on `from` than on `to`, since all of them together do.
        let lead = |topic: &Layout| topic.loads.0[from] as i64 - topic.loads.0[to] as i64;
        let topic = topics.iter_mut().max_by_key(|topic| lead(topic));
        let topic = topic.unwrap_or_else(|| panic!("uneven loads come from topics"));
        let index = topic.shards.iter().rposition(|shard| shard.index() == from);
        let index = index.unwrap_or_else(|| panic!("the topic holds a partition on {from}"));
        topic.shards[index] = ShardId(to as u16);
        for loads in [&mut all, &mut topic.loads] {
            loads.0[from] -= 1;
            loads.0[to] += 1;
        }
    }
    let moves = |topic: Layout| {
        let changed = move |(old, new): (&crate::model::PartitionView, ShardId)| {
            let (topic, partition) = (topic.view.id, old.index.get());
            (old.shard != new).then_some(Move { topic, partition, shard: new })
        };
        topic.view.partitions.iter().zip(topic.shards).filter_map(changed).collect::<Vec<_>>()
    };
    topics.into_iter().flat_map(moves).collect()
}

/// A topic and the shards its partitions shall have.
struct Layout<'a> {
    view: &'a TopicView,
    shards: Vec<ShardId>,
    loads: Loads,
}

impl<'a> Layout<'a> {
    fn of(view: &'a TopicView, shards: u16) -> Self {
        let loads = Loads::count(shards, std::iter::once(view));
        Self { view, shards: view.partitions.iter().map(|p| p.shard).collect(), loads }
    }
}

impl Loads {
    /// The fullest and the emptiest shard, if they are two or more partitions apart.
    fn uneven(&self) -> Option<(usize, usize)> {
        let by_load = |&shard: &usize| self.0[shard];
        let most = (0..self.0.len()).max_by_key(by_load)?;
        let least = (0..self.0.len()).min_by_key(by_load)?;
        (self.0[most] > self.0[least] + 1).then_some((most, least))
    }
}
