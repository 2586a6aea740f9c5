//! Members of both protocols in one group: they come, go, change their protocol, and the coordinator restarts.

mod client;
mod scene;

use bytes::Bytes;
use proptest::prelude::*;

use self::{
    client::{Client, Next},
    scene::{Scene, world},
};
use super::{
    super::{
        classic::{Effect, GroupError, JoinRequest, Joined, Joining, Protocol, SyncRequest, Synced},
        consumer::{
            self, Assignment, Beat, ConsumerError, Heartbeat, LEAVE_EPOCH, MemberState, STATIC_LEAVE_EPOCH,
            classic_members::{by_id, by_name},
        },
        consumer_protocol::{assignment, read_assignment, read_subscription, tests::subscription},
    },
    *,
};
use crate::model::TopicId;

const BOTH_WAYS: MigrationPolicy = MigrationPolicy { upgrade: true, downgrade: true };

#[test]
fn a_classic_group_goes_over_with_the_first_heartbeat_and_back_with_the_last() {
    for cooperates in [false, true] {
        let mut scene = Scene::new();
        let (one, two) = (scene.add(true, cooperates), scene.add(true, cooperates));
        scene.settle();
        let generation = scene.of(one).epoch;
        assert_eq!((scene.of(one).count(), scene.of(two).count()), (4, 3));
        let three = scene.add(false, true);
        scene.step(three);
        assert_eq!(scene.of(three).epoch, generation + 1, "epochs go on where generations were");
        assert_eq!(scene.of(one).count(), 4, "who does not know of it reads on");
        scene.step(one);
        assert_eq!(scene.of(one).next, Next::Join);
        scene.settle();
        assert_eq!(scene.clients.iter().map(Client::count).max(), Some(3));
        scene.leave(three);
        scene.settle();
        assert_eq!(scene.group.describe_consumer().map(|it| it.epoch), None);
        assert!(scene.of(one).epoch > generation + 1);
    }
}

#[test]
fn clients_are_rolled_from_one_protocol_to_the_other_and_back() {
    for cooperates in [false, true] {
        let mut scene = Scene::new();
        (0..3).for_each(|_| _ = scene.add(true, cooperates));
        scene.settle();
        for is_classic in [false, true] {
            for _ in 0..3 {
                let first = scene.clients[0].process;
                scene.leave(first);
                scene.add(is_classic, cooperates);
                scene.restart();
                scene.settle();
            }
        }
    }
}

#[test]
fn a_member_that_has_not_asked_for_its_assignment_yet_keeps_what_it_reads_as_its_group_goes_over() {
    let mut scene = Scene::new();
    let (one, two) = (scene.add(true, true), scene.add(true, true));
    scene.settle();
    let three = scene.add(true, true);
    // All join, and the leader assigns: the second gives up something, and does not know yet.
    for ticket in [three, one, one, two, two, one] {
        scene.step(ticket);
    }
    assert_eq!((scene.of(two).next, scene.of(two).count()), (Next::Sync, 3));
    let (_, classic) = scene.group.describe_classic().expect("a classic group");
    let of_two = classic.members.iter().find(|member| member.member_id == scene.of(two).id);
    let assigned = read_assignment(&of_two.expect("a member").assignment).expect("an assignment");
    assert!(assigned.values().map(std::collections::BTreeSet::len).sum::<usize>() < 3, "{assigned:?}");
    let four = scene.add(false, true);
    for _ in 0..3 {
        scene.step(four);
        scene.check_nothing_is_shared();
    }
    scene.settle();
}

#[test]
fn a_member_of_a_mixed_group_commits_with_the_generation_it_was_told() {
    let mut scene = Scene::new();
    let one = scene.add(true, false);
    scene.settle();
    scene.add(false, true);
    scene.settle();
    let of = |generation| MemberOf { member_id: scene.of(one).id.clone(), instance_id: None, generation };
    let (now, before) = (of(scene.of(one).epoch), of(scene.of(one).epoch - 1));
    let view = scene.view.clone();
    assert_eq!(scene.group.commit(world(&view, 0), &now, &[]), Ok(Vec::new()));
    let refused = scene.group.commit(world(&view, 0), &before, &[]);
    assert!(matches!(refused, Err(CoordinatorError::Consumer(ConsumerError::IllegalGeneration { .. }))));
}

#[test]
fn the_policy_says_which_way_groups_may_go_over() {
    let mut scene = Scene::new();
    let one = scene.add(true, false);
    scene.settle();
    let view = scene.view.clone();
    let closed = MigrationPolicy { upgrade: false, downgrade: false };
    let closed = World { migration: closed, ..world(&view, 0) };
    let beat = Client::new(9, false, true).beating(0);
    let refused = scene.group.beat(closed, beat.clone());
    assert_eq!((refused.answer, refused.records), (Err(CoordinatorError::OtherProtocol), Vec::new()));
    scene.step(one);
    assert_eq!(scene.of(one).next, Next::Beat, "nothing has changed");
    let two = scene.add(false, true);
    scene.settle();
    let last = scene.of(two).beating(LEAVE_EPOCH);
    scene.clients.retain(|client| client.process == one);
    let left = scene.group.beat(closed, last);
    assert!(left.answer.is_ok());
    assert!(scene.group.describe_consumer().is_some(), "it stays a consumer group, of classic members");
}

#[test]
fn members_that_are_no_consumers_are_left_alone() {
    let mut scene = Scene::new();
    let mut request = Client::new(1, true, false).joining(&scene.view, 1);
    request.requires_known_id = false;
    request.joining.protocol_type = "connect".to_owned();
    let view = scene.view.clone();
    assert_eq!(scene.group.join(world(&view, 0), request, 1).answer, Ok(None));
    let refused = scene.group.beat(world(&view, 0), Client::new(9, false, true).beating(0));
    assert_eq!(refused.answer, Err(CoordinatorError::OtherProtocol));
    scene.clients.clear();
    let mut scene = Scene::new();
    scene.add(false, true);
    scene.settle();
    let mut request = Client::new(1, true, false).joining(&scene.view, 1);
    request.requires_known_id = false;
    request.joining.protocol_type = "connect".to_owned();
    let refused = scene.turn(|group, world| group.join(world, request, 1));
    assert_eq!(refused, Err(GroupError::InconsistentProtocol.into()));
}

#[test]
fn a_static_member_changes_its_protocol_and_keeps_its_place() {
    let mut scene = Scene::new();
    let (one, two) = (scene.add(true, false), scene.add(true, false));
    scene.clients.iter_mut().for_each(|client| client.instance = Some(format!("i{}", client.process)));
    scene.settle();
    for is_classic in [false, true] {
        for ticket in [one, two] {
            // Its process was replaced by one that speaks the other protocol.
            let instance = scene.of(ticket).instance.clone();
            scene.client(ticket, |client, _| {
                *client = Client { instance, ..Client::new(ticket, is_classic, !is_classic) };
            });
            scene.settle();
        }
    }
}

#[test]
fn a_member_that_does_not_follow_is_gone_at_its_timeout() {
    // A classic member that does not join again.
    let mut scene = Scene::new();
    let one = scene.add(true, false);
    scene.settle();
    let two = scene.add(false, true);
    scene.step(two);
    scene.step(one);
    assert_eq!(scene.of(one).next, Next::Join);
    scene.clients.retain(|client| client.process == two);
    scene.settle();
    // The last member of the newer protocol, that is not heard of.
    let three = scene.add(true, false);
    scene.settle();
    scene.clients.retain(|client| client.process == three);
    scene.settle();
}

#[test]
fn what_could_not_be_stored_is_stored_before_anything_that_follows() {
    let mut scene = Scene::new();
    let one = scene.add(false, true);
    scene.settle();
    let two = scene.add(false, true);
    scene.step(two);
    scene.step(one);
    // One has given back; two would get it, and a log that knows of the second only would have both of them have it.
    scene.refuses = true;
    scene.step(one);
    scene.refuses = false;
    scene.step(two);
    assert_eq!(scene.of(two).count(), 3);
    scene.restart();
    scene.check_nothing_is_shared();
    scene.step(one);
    scene.check_nothing_is_shared();
    scene.settle();
}

#[test]
fn a_group_that_went_over_while_the_log_took_nothing_has_gone_over() {
    let mut scene = Scene::new();
    let one = scene.add(true, true);
    scene.settle();
    let two = scene.add(false, true);
    scene.refuses = true;
    scene.step(two);
    assert_eq!(scene.of(two).epoch, 0, "it is not told");
    scene.refuses = false;
    scene.step(two);
    let epoch = scene.of(two).epoch;
    scene.restart();
    assert!(scene.group.describe_consumer().is_some(), "the log knows");
    scene.step(two);
    assert!(scene.of(two).epoch >= epoch, "it goes on as a member");
    // And back, once the other is not heard of any more.
    scene.clients.retain(|client| client.process != two);
    for _ in 0..14 {
        scene.pass(3_000);
        scene.step(one);
    }
    scene.refuses = true;
    scene.pass(6_000);
    assert!(scene.group.describe_classic().is_some());
    scene.settle();
    scene.restart();
    scene.settle();
}

#[test]
fn a_static_member_that_is_refused_replaces_nobody() {
    let mut scene = Scene::new();
    let one = scene.add_static(false, true, Some("i".to_owned()));
    scene.add(true, true);
    scene.settle();
    let stranger = Client { instance: Some("i".to_owned()), ..Client::new(9, true, true) };
    let mut request = stranger.joining(&scene.view, 9);
    request.joining.protocol_type = "connect".to_owned();
    let refused = scene.turn(|group, world| group.join(world, request, 9));
    assert_eq!(refused, Err(GroupError::InconsistentProtocol.into()));
    let (epoch, has) = (scene.of(one).epoch, scene.of(one).count());
    scene.step(one);
    assert_eq!((scene.of(one).epoch, scene.of(one).count()), (epoch, has));
}

/// What happens in the world: what, to whom, and two details.
type Event = (u8, prop::sample::Index, bool, u8);

fn happen(scene: &mut Scene, cooperates: bool, (what, who, flag, detail): Event) {
    let who = (!scene.clients.is_empty()).then(|| scene.clients[who.index(scene.clients.len())].process);
    match (what, who) {
        (0 | 1, _) if scene.clients.len() < 6 => {
            let instance = (detail < 6).then(|| format!("i{}", detail % 3));
            if detail < 3 {
                scene.clients.retain(|client| client.instance.is_none() || client.instance != instance);
            }
            scene.add_static(flag, cooperates, instance);
        }
        (2, Some(who)) => {
            let for_a_while = flag && scene.of(who).instance.is_some();
            scene.leave_as(who, if for_a_while { STATIC_LEAVE_EPOCH } else { LEAVE_EPOCH });
        }
        (3, _) if flag => scene.restart(),
        (4, _) => scene.pass([100, 500, 1_000, 3_000, 9_000, 11_000, 46_000, 61_000][usize::from(detail)]),
        (5, _) => match detail {
            0 => scene.grow("a", 6),
            1 => scene.grow("c", 2),
            2 => scene.delete_topic("b"),
            _ => {}
        },
        (6, _) => scene.refuses = flag && detail < 4,
        (7, _) if flag => scene.is_slow = true,
        (7, _) => {
            scene.is_slow = false;
            scene.finish_stores();
        }
        (8, Some(who)) => scene.client(who, |client, _| client.cut()),
        (9 | 10, Some(who)) => scene.ask(who, true),
        (_, Some(who)) => scene.step(who),
        (_, None) => _ = scene.add(flag, cooperates),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    /// Nobody ever has what another has, unless the group goes on without it, and it cannot know; nobody is given up
    /// or refused without a reason; who stays ends with everything shared, under the protocol that fits; a restart
    /// forgets nothing.
    #[test]
    fn members_of_both_protocols_never_share_a_partition(
        events in proptest::collection::vec((0..26u8, any::<prop::sample::Index>(), any::<bool>(), 0..8u8), 1..150),
        cooperates in any::<bool>(),
    ) {
        let mut scene = Scene::new();
        for event in events {
            happen(&mut scene, cooperates, event);
            scene.check_nothing_is_shared();
        }
        scene.settle();
    }
}
