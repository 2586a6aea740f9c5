//! Control as a whole: requests in, views and replies out, restarts in between.

use std::sync::{Mutex, mpsc as std_mpsc};

use proptest::prelude::*;

use super::{placement::rebalance, *};
use crate::{
    config::{Assignment, Cpu, Place, load},
    model::{Broker, PartitionIndex, ShardId},
};

fn node() -> NodeSettings {
    NodeSettings {
        brokers: vec![Broker { id: 1, host: "127.0.0.1".to_owned(), port: 9092 }],
        settings: settings(&[]),
    }
}

fn settings(flags: &[(&str, &str)]) -> Arc<Settings> {
    let assignment = |(key, value): &(&str, &str)| Assignment {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        place: Place::Flag("--set"),
    };
    let usual = [("num.partitions", "3"), ("partitions.max", "1000")];
    let flags: Vec<_> = usual.iter().chain(flags).map(assignment).collect();
    Arc::new(load(None, &flags, &[Cpu { core: 0, numa_node: 0 }]).expect("sound settings"))
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions, replication_factor: -1, ..NewTopic::default() }
}

fn create(topics: Vec<NewTopic>) -> ControlRequest {
    ControlRequest::CreateTopics { topics, validate_only: false }
}

fn delete(name: &str) -> ControlRequest {
    ControlRequest::DeleteTopics { topics: vec![TopicRef::Name(name.to_owned())] }
}

fn topics(reply: ControlReply) -> Vec<TopicResult> {
    match reply {
        ControlReply::Topics(results) => results,
        other => panic!("{other:?}"),
    }
}

/// The one error of a request with one item.
fn refusal(control: &mut Control, request: ControlRequest) -> TopicError {
    let mut results = topics(control.serve(request));
    assert_eq!(results.len(), 1);
    results.remove(0).expect_err("refused")
}

fn loads(view: &ClusterView, shards: u16) -> Vec<usize> {
    let on = |shard| move |partition: &&crate::model::PartitionView| partition.shard == shard;
    let count = |shard| view.topics().map(|topic| topic.partitions.iter().filter(on(shard)).count()).sum();
    (0..shards).map(|shard| count(ShardId(shard))).collect()
}

fn spread(loads: &[usize]) -> usize {
    loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0)
}

/// Everything of a view but its epoch, which counts the commands that led to it.
fn content(view: &ClusterView) -> (String, Vec<TopicView>) {
    (view.cluster_id.clone(), view.topics().map(|topic| TopicView::clone(topic)).collect())
}

#[test]
fn topics_ids_and_the_cluster_id_survive_a_restart() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 2, node()).expect("opens");
    let mut configured = topic("b", 5);
    configured.configs = vec![("retention.ms".to_owned(), Some("1000".to_owned()))];
    let created = topics(control.serve(create(vec![topic("a", -1), configured])));
    assert_eq!(created[0].as_ref().expect("created").partitions.len(), 3);
    assert_eq!(created[1].as_ref().expect("created").settings.retention_ms, 1000);
    let before = content(&control.view());
    assert_eq!(before.0.len(), 22);
    drop(control);
    let control = Control::open(data.path(), 2, node()).expect("opens");
    assert_eq!(content(&control.view()), before);
}

#[test]
fn a_recreated_topic_gets_a_new_id_and_the_old_id_is_unknown() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    let first = topics(control.serve(create(vec![topic("t", 1)])))[0].clone().expect("created");
    topics(control.serve(delete("t")))[0].clone().expect("deleted");
    assert!(control.view().topic("t").is_none());
    let second = topics(control.serve(create(vec![topic("t", 1)])))[0].clone().expect("created");
    assert_ne!(first.id, second.id);
    assert!(control.view().topic_by_id(first.id).is_none());
    let stale = ControlRequest::DeleteTopics { topics: vec![TopicRef::Id(first.id)] };
    assert_eq!(refusal(&mut control, stale), TopicError::UnknownId);
    assert!(control.view().topic_by_id(second.id).is_some());
}

#[test]
fn producer_ids_never_repeat_across_restarts() {
    let data = tempfile::tempdir().expect("directory");
    let mut next = 0;
    for _ in 0..3 {
        let mut control = Control::open(data.path(), 1, node()).expect("opens");
        for _ in 0..2 {
            let reply = control.serve(ControlRequest::ReserveProducerIds);
            let ControlReply::ProducerIds(block) = reply else { panic!("{reply:?}") };
            assert_eq!(block, next..next + PRODUCER_ID_BLOCK);
            next = block.end;
        }
    }
}

#[test]
fn a_view_is_copied_by_what_changes_it_and_shares_the_topics_that_stay() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    let create = |name| ControlRequest::CreateTopics { topics: vec![topic(name, 4)], validate_only: false };
    let _ = control.serve(create("first"));
    let before = control.view();
    let _ = control.serve(ControlRequest::ReserveProducerIds);
    let _ = control.serve(create("first"));
    assert!(Arc::ptr_eq(&before, &control.view()), "nothing has changed");
    let _ = control.serve(create("second"));
    let after = control.view();
    assert!(before.topic("second").is_none() && after.topic("second").is_some());
    let first = |view: &ClusterView| Arc::clone(view.topic("first").expect("there"));
    assert!(Arc::ptr_eq(&first(&before), &first(&after)));
}

#[test]
fn what_is_only_validated_leaves_no_trace() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    let file = data.path().join("cluster/metadata.log");
    let before = (content(&control.view()), std::fs::read(&file).expect("read"));
    let judged = ControlRequest::CreateTopics { topics: vec![topic("t", 4)], validate_only: true };
    let judged = topics(control.serve(judged))[0].clone().expect("would be created");
    assert_eq!((judged.partitions.len(), judged.id), (4, TopicId::ZERO));
    assert_eq!((content(&control.view()), std::fs::read(&file).expect("read")), before);
}

#[test]
fn a_request_is_judged_item_by_item() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    let request = create(vec![topic("a", 1), topic("b c", 1), topic("d", 0), topic("e", 1)]);
    let results = topics(control.serve(request));
    let good: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, false, false, true]);
    let names: Vec<_> = control.view().topics().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["a", "e"]);
}

#[test]
fn a_topic_named_twice_in_a_request_is_refused_both_times() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    let results = topics(control.serve(create(vec![topic("a", 1), topic("b", 1), topic("a", 2)])));
    assert_eq!(results[0], Err(TopicError::DuplicateName));
    assert!(results[1].is_ok());
    assert_eq!(results[2], Err(TopicError::DuplicateName));
    let id = results[1].as_ref().expect("created").id;
    let both = vec![TopicRef::Id(id), TopicRef::Name("b".to_owned())];
    let results = topics(control.serve(ControlRequest::DeleteTopics { topics: both }));
    assert_eq!(results, [Err(TopicError::DuplicateId), Err(TopicError::DuplicateName)]);
    assert!(control.view().topic("b").is_some());
}

#[test]
fn unsound_topics_are_refused_for_their_own_reason() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    topics(control.serve(create(vec![topic("metrics.cpu", 1)])))[0].clone().expect("created");
    let mut refuse = |change: &dyn Fn(&mut NewTopic)| {
        let mut new = topic("new", -1);
        change(&mut new);
        refusal(&mut control, create(vec![new]))
    };
    let config = |key: &str, value: Option<&str>| vec![(key.to_owned(), value.map(str::to_owned))];
    assert!(matches!(refuse(&|t| t.name = "..".to_owned()), TopicError::InvalidName(_)));
    let reserved = refuse(&|t| t.name = "__cluster_metadata".to_owned());
    assert!(matches!(reserved, TopicError::ReservedName(_)));
    assert!(matches!(refuse(&|t| t.name = "metrics.cpu".to_owned()), TopicError::AlreadyExists(_)));
    assert!(matches!(refuse(&|t| t.name = "metrics_cpu".to_owned()), TopicError::Collision { .. }));
    assert_eq!(refuse(&|t| t.partitions = 0), TopicError::PartitionsNotPositive);
    assert_eq!(refuse(&|t| t.partitions = -2), TopicError::PartitionsNotPositive);
    let many = TopicError::TooManyPartitions { wanted: 1000, partitions_max: 1000 };
    assert_eq!(refuse(&|t| t.partitions = 1000), many);
    assert!(matches!(refuse(&|t| t.partitions = i32::MAX), TopicError::TooManyPartitions { .. }));
    assert_eq!(refuse(&|t| t.replication_factor = 0), TopicError::ReplicationFactorNotPositive);
    let few = TopicError::TooFewBrokers { wanted: 2, brokers: 1 };
    assert_eq!(refuse(&|t| t.replication_factor = 2), few);
    let unknown = refuse(&|t| t.configs = config("retention.sec", Some("1")));
    assert!(matches!(unknown, TopicError::InvalidConfig(_)));
    let unsound = refuse(&|t| t.configs = config("retention.ms", Some("-5")));
    assert!(matches!(unsound, TopicError::InvalidConfig(_)));
    let null = refuse(&|t| t.configs = config("retention.ms", None));
    assert_eq!(null, TopicError::NullConfig("retention.ms".to_owned()));
}

#[test]
fn assignments_are_checked_as_kafka_checks_them() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    let mut assigned = |partitions, assignments: &[(i32, &[i32])]| {
        let mut new = topic("new", partitions);
        new.assignments = assignments.iter().map(|(p, b)| (*p, b.to_vec())).collect();
        topics(control.serve(create(vec![new]))).remove(0)
    };
    assert!(matches!(assigned(1, &[(0, &[1])]), Err(TopicError::AssignmentAndCount(_))));
    for unsound in [
        &[(0, &[1][..]), (2, &[1])][..],
        &[(0, &[1]), (0, &[1])],
        &[(1, &[1])],
        &[(0, &[])],
        &[(0, &[7])],
        &[(0, &[1, 1])],
    ] {
        let found = assigned(-1, unsound);
        assert!(matches!(found, Err(TopicError::InvalidAssignment(_))), "{unsound:?}: {found:?}");
    }
    let created = assigned(-1, &[(1, &[1]), (0, &[1])]).expect("created");
    assert_eq!(created.partitions.len(), 2);
}

#[test]
fn partitions_can_be_added_and_never_taken_away() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 2, node()).expect("opens");
    topics(control.serve(create(vec![topic("t", 3)])))[0].clone().expect("created");
    let mut grow = |name: &str, count, assignments| {
        let topics = vec![NewPartitions { name: name.to_owned(), count, assignments }];
        let reply = control.serve(ControlRequest::CreatePartitions { topics, validate_only: false });
        self::topics(reply).remove(0)
    };
    assert_eq!(grow("nothing", 3, None), Err(TopicError::UnknownName));
    for count in [3, 2, 0, -1] {
        assert!(matches!(grow("t", count, None), Err(TopicError::NoIncrease { .. })), "{count}");
    }
    for unsound in [vec![], vec![vec![1], vec![1]], vec![vec![2]], vec![vec![1, 1]], vec![vec![]]] {
        let found = grow("t", 4, Some(unsound));
        assert!(matches!(found, Err(TopicError::InvalidAssignment(_))), "{found:?}");
    }
    assert!(matches!(grow("t", 1001, None), Err(TopicError::TooManyPartitions { .. })));
    let grown = grow("t", 4, Some(vec![vec![1]])).expect("grown");
    assert_eq!(grown.partitions.len(), 4);
    let indexes: Vec<_> = grown.partitions.iter().map(|partition| partition.index.get()).collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    assert_eq!(loads(&control.view(), 2), [2, 2]);
}

#[test]
fn a_change_that_the_disk_refused_is_not_published_and_the_log_opens_again() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    // Every write to this device fails with ENOSPC, and it cannot be cut back either.
    control.log.replace_file(std::path::Path::new("/dev/full")).expect("/dev/full opens");
    for _ in 0..2 {
        let reply = control.serve(create(vec![topic("t", 1)]));
        assert!(matches!(reply, ControlReply::Failed(ControlFailure::Storage(_))), "{reply:?}");
        assert!(control.view().topic("t").is_none());
    }
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    assert!(control.view().topic("t").is_none());
    topics(control.serve(create(vec![topic("t", 1)])))[0].clone().expect("created");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Goal: the log alone is the cluster, ids are unique, placement is even at any shard count.
    /// Method: random changes, a restart with another shard count after each few, compare.
    #[test]
    fn replayed_commands_give_the_same_cluster_on_any_number_of_shards(
        steps in prop::collection::vec((0..4_u8, 0..8_usize, 1..9_i32), 1..40),
        counts in prop::collection::vec(1..9_u16, 1..5),
    ) {
        let data = tempfile::tempdir().expect("directory");
        let mut shards = 1;
        let mut control = Control::open(data.path(), shards, node()).expect("opens");
        let mut ids = BTreeSet::new();
        for (turn, (what, which, count)) in steps.into_iter().enumerate() {
            let name = format!("topic-{which}");
            let reply = control.serve(match what {
                0 | 1 => create(vec![topic(&name, count)]),
                2 => delete(&name),
                _ => ControlRequest::CreatePartitions {
                    topics: vec![NewPartitions { name: name.clone(), count, assignments: None }],
                    validate_only: false,
                },
            });
            if let (0 | 1, Ok(created)) = (what, &topics(reply)[0]) {
                prop_assert!(ids.insert(created.id), "an id was given twice");
            }
            if turn % 7 == 6 {
                let before = control.view();
                let was = shards;
                shards = counts[turn / 7 % counts.len()];
                drop(control);
                control = Control::open(data.path(), shards, node()).expect("opens");
                let after = control.view();
                if was == shards {
                    prop_assert_eq!(content(&after), content(&before));
                } else {
                    prop_assert!(spread(&loads(&after, shards)) <= 1, "{:?}", loads(&after, shards));
                    prop_assert_eq!(rebalance(&after, shards), vec![]);
                }
                let shape = |view: &ClusterView| -> Vec<_> {
                    view.topics().map(|t| (t.name.clone(), t.id, t.partitions.len())).collect()
                };
                prop_assert_eq!(shape(&after), shape(&before));
            }
            let view = control.view();
            prop_assert_eq!(loads(&view, shards).iter().sum::<usize>(), control.cluster.partitions());
            for topic in view.topics() {
                for (index, partition) in topic.partitions.iter().enumerate() {
                    prop_assert_eq!(partition.index, PartitionIndex::new(index as i32));
                    prop_assert!(partition.shard.0 < shards);
                }
            }
        }
        let mut replayed = Cluster::new(node());
        for command in control.cluster.snapshot().concat() {
            prop_assert_eq!(replayed.apply(&command), Ok(()));
        }
        prop_assert_eq!(content(replayed.view()), content(&control.view()));
        prop_assert_eq!(replayed.plan_producer_ids(), control.cluster.plan_producer_ids());
    }

    #[test]
    fn new_topics_are_spread_evenly(sizes in prop::collection::vec(1..12_i32, 1..20), shards in 1..9_u16) {
        let data = tempfile::tempdir().expect("directory");
        let mut control = Control::open(data.path(), shards, node()).expect("opens");
        for (turn, size) in sizes.into_iter().enumerate() {
            let created = topics(control.serve(create(vec![topic(&format!("t{turn}"), size)])));
            let created = created[0].clone().expect("created");
            let mut own = vec![0; usize::from(shards)];
            created.partitions.iter().for_each(|partition| own[partition.shard.index()] += 1);
            prop_assert!(spread(&own) <= 1, "of its topic: {own:?}");
            prop_assert!(spread(&loads(&control.view(), shards)) <= 1);
        }
    }
}

#[test]
fn a_shard_count_that_grows_moves_only_what_it_must() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 2, node()).expect("opens");
    topics(control.serve(create(vec![topic("t", 12)])))[0].clone().expect("created");
    assert_eq!(rebalance(&control.view(), 3).len(), 4);
    assert_eq!(rebalance(&control.view(), 2).len(), 0);
    assert_eq!(rebalance(&control.view(), 1).len(), 6);
}

/// Keeps what it is handed until the test lets it apply.
struct SlowShard(Mutex<std_mpsc::Sender<(Arc<ClusterView>, Applied)>>);

impl ShardLink for SlowShard {
    fn configure(&self, _: Arc<Settings>) {}

    fn publish(&self, view: Arc<ClusterView>, applied: Applied) {
        self.0.lock().expect("one thread").send((view, applied)).expect("the test listens");
    }
}

/// Runs control with two shards, creates one topic, and lets `shards` answer.
fn created_with(answers: [Option<Result<(), String>>; 2]) -> ControlReply {
    let data = tempfile::tempdir().expect("directory");
    let control = Control::open(data.path(), 2, node()).expect("opens");
    let (to_control, requests) = mpsc::channel(4);
    let (to_shards, published) = std_mpsc::channel();
    let link = || Box::new(SlowShard(Mutex::new(to_shards.clone()))) as Box<dyn ShardLink>;
    let links = vec![link(), link()];
    let (to_client, replies) = std_mpsc::channel();
    let reply_to: ReplyTo = Box::new(move |reply| to_client.send(reply).expect("the test listens"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(async {
        to_control.send((create(vec![topic("t", 1)]), reply_to)).await.expect("control listens");
        drop(to_control);
        control.run(requests, links).await;
    });
    for answer in answers {
        assert!(replies.try_recv().is_err(), "answered before all shards had applied it");
        let (view, applied) = published.try_recv().expect("published to each shard");
        assert!(view.topic("t").is_some());
        match answer {
            Some(outcome) => applied(outcome),
            None => drop(applied),
        }
    }
    replies.try_recv().expect("answered")
}

#[test]
fn a_change_is_answered_once_every_shard_has_applied_it() {
    let reply = created_with([Some(Ok(())), Some(Ok(()))]);
    assert!(topics(reply)[0].is_ok());
}

#[test]
fn a_change_that_a_shard_could_not_apply_is_answered_with_its_reason() {
    let reply = created_with([Some(Err("no space".to_owned())), Some(Ok(()))]);
    assert_eq!(topics(reply), [Err(TopicError::NotApplied("no space".to_owned()))]);
    let reply = created_with([Some(Ok(())), None]);
    assert_eq!(topics(reply), [Err(TopicError::NotApplied("a shard has stopped".to_owned()))]);
}

fn alter(resource: Resource, changes: &[(&str, &str)]) -> ControlRequest {
    let set = |(key, value): &(&str, &str)| ((*key).to_owned(), Operation::Set, Some((*value).to_owned()));
    let changes = changes.iter().map(set).collect();
    let alterations = vec![Alteration { resource, changes, replace: false }];
    ControlRequest::Alter { alterations, validate_only: false }
}

#[test]
fn settings_that_clients_change_hold_at_once_and_after_a_restart_and_topics_follow_the_brokers() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    control.serve(create(vec![topic("own", 1), topic("follows", 1)]));
    let broker = |id: &str| Resource::Broker(id.to_owned());
    let done = ControlReply::Altered(vec![Ok(())]);
    let retention =
        |control: &Control, name: &str| control.view().topic(name).expect("there").settings.retention_ms;
    let own = Resource::Topic("own".to_owned());
    assert_eq!(control.serve(alter(own, &[("retention.ms", "1")])), done);
    assert_eq!(control.serve(alter(broker(""), &[("log.retention.ms", "2")])), done);
    assert_eq!((retention(&control, "own"), retention(&control, "follows")), (1, 2));
    assert_eq!(
        control.serve(alter(broker("1"), &[("log.retention.ms", "3"), ("max.connections", "9")])),
        done
    );
    for restarted in [false, true, true] {
        if restarted {
            drop(control);
            control = Control::open(data.path(), 1, node()).expect("opens");
        }
        assert_eq!((retention(&control, "own"), retention(&control, "follows")), (1, 3));
        assert_eq!(control.settings().connections_max, 9);
    }
    // What files give lies below.
    control
        .serve(ControlRequest::Give(Given(settings(&[("log.retention.ms", "4"), ("max.connections", "5")]))));
    assert_eq!((retention(&control, "follows"), control.settings().connections_max), (3, 9));
    let delete = |key: &str| (key.to_owned(), Operation::Delete, None);
    let changes = vec![delete("log.retention.ms"), delete("max.connections")];
    for (id, left) in [("1", 2), ("", 4)] {
        let alterations = vec![Alteration { resource: broker(id), changes: changes.clone(), replace: false }];
        let request = ControlRequest::Alter { alterations, validate_only: false };
        assert_eq!(control.serve(request), done);
        assert_eq!(retention(&control, "follows"), left);
    }
    assert_eq!(control.settings().connections_max, 5);
}

#[test]
fn a_change_of_settings_that_is_unsound_or_only_judged_changes_nothing() {
    let data = tempfile::tempdir().expect("directory");
    let mut control = Control::open(data.path(), 1, node()).expect("opens");
    control.serve(create(vec![topic("t", 1)]));
    let before = control.view();
    let topic = |name: &str| Resource::Topic(name.to_owned());
    let broker = |id: &str| Resource::Broker(id.to_owned());
    for (request, sentence) in [
        (alter(topic("t"), &[("retention.ms", "soon")]), "Not a value of type LONG"),
        (alter(topic("t"), &[("retention", "1")]), "Unknown topic config name: retention"),
        (alter(topic("t"), &[("retention.ms", "1"), ("retention.ms", "2")]), "duplicate config keys"),
        (alter(topic("u"), &[("retention.ms", "1")]), "The topic 'u' does not exist."),
        (alter(broker("2"), &[("max.connections", "1")]), "Unexpected broker id, expected 1, but received 2"),
        (alter(broker("x"), &[("max.connections", "1")]), "Node id must be an integer"),
        (alter(broker("1"), &[("node.id", "1")]), "cannot change while the broker runs"),
        (alter(broker(""), &[("no.such.key", "1")]), "unknown setting"),
    ] {
        let ControlReply::Altered(results) = control.serve(request) else { panic!("another reply") };
        let error = results[0].clone().expect_err("refused").to_string();
        assert!(error.contains(sentence), "{error}");
    }
    let ControlRequest::Alter { alterations, .. } = alter(topic("t"), &[("retention.ms", "1")]) else {
        panic!("it is one");
    };
    let judged = ControlRequest::Alter { alterations: alterations.clone(), validate_only: true };
    assert_eq!(control.serve(judged), ControlReply::Altered(vec![Ok(())]));
    let twice = [alterations.clone(), alterations].concat();
    let twice = ControlRequest::Alter { alterations: twice, validate_only: false };
    assert_eq!(control.serve(twice), ControlReply::Altered(vec![Err(AlterError::Duplicate); 2]));
    assert!(Arc::ptr_eq(&before, &control.view()));
}
