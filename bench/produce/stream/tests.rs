use super::*;
use crate::clock::SECOND;
use crate::schedule::{Schedule, Shape};

fn plan(rate: Option<u64>, linger: Nanos) -> Plan {
    Plan {
        schedule: rate.map(|rate| Schedule::new(0, rate, 1, Shape::Constant, 0)),
        batch_bytes: 61 + 3 * 110,
        linger,
        ..Plan::for_tests(100)
    }
}

fn stream(plan: &Plan, quota: u64) -> Stream {
    let supply = plan.schedule.map_or(Supply::Endless, |schedule| Supply::Scheduled {
        arrivals: schedule.arrivals(0),
        end: Nanos::MAX,
    });
    Stream::new(Seat { stream: 0, partition: 0, slot: 0 }, quota, supply)
}

/// The next batch: first sequence and count.
fn take(stream: &mut Stream, plan: &Plan, now: Nanos) -> Taken {
    stream.take(plan, now).expect("something is due")
}

fn names(taken: Taken) -> (u64, u32) {
    (taken.first, taken.count)
}

#[test]
fn a_closed_loop_sends_full_batches_until_the_quota() {
    let plan = plan(None, 0);
    let mut stream = stream(&plan, 5);
    assert_eq!(stream.next_step(&plan, 0), Next::Ready);
    let first = take(&mut stream, &plan, 0);
    let second = take(&mut stream, &plan, 0);
    assert_eq!((names(first), names(second)), ((0, 3), (3, 2)));
    assert_eq!(stream.next_step(&plan, 0), Next::Waits);
    assert_eq!(stream.accepted(&plan, &first), Settled::Continue);
    assert_eq!(stream.accepted(&plan, &second), Settled::Continue);
    assert_eq!(stream.next_step(&plan, 0), Next::Finished);
}

#[test]
fn an_open_loop_sends_what_is_due_however_late_it_is() {
    let plan = plan(Some(1000), 1_500_000);
    let mut stream = stream(&plan, 100);
    assert_eq!(stream.next_step(&plan, 0), Next::At(1_500_000), "linger");
    assert_eq!(names(take(&mut stream, &plan, 1_500_000)), (0, 2));
    assert_eq!(stream.next_step(&plan, 1_500_000), Next::At(3_500_000));
    let late = take(&mut stream, &plan, SECOND);
    assert_eq!(names(late), (2, 3), "a late batch is a full one");
    assert_eq!(stream.next_step(&plan, SECOND), Next::Ready, "and the next is late too");
    let mut times = Vec::new();
    stream.for_each_time(&late, SECOND, |at, _| times.push(at));
    assert_eq!(times, [2_000_000, 3_000_000, 4_000_000], "each counts from when it was meant to leave");
}

#[test]
fn a_schedule_ends_before_its_end_and_knows_what_never_left() {
    let plan = plan(Some(1000), 0);
    let supply = Supply::Scheduled { arrivals: plan.schedule.expect("given").arrivals(0), end: 5_000_000 };
    let mut stream = Stream::new(Seat { stream: 0, partition: 0, slot: 0 }, u64::MAX, supply);
    assert_eq!(names(take(&mut stream, &plan, SECOND)), (0, 3));
    assert_eq!(stream.stop(SECOND), 2, "those of 3 and 4 ms");
    assert_eq!(stream.next_step(&plan, SECOND), Next::Waits);
}

#[test]
fn refused_records_are_sent_again_in_order_and_with_their_times() {
    let plan = plan(Some(1000), 0);
    let mut stream = stream(&plan, 6);
    let first = take(&mut stream, &plan, SECOND);
    let second = take(&mut stream, &plan, SECOND);
    assert_eq!(stream.refused(&plan, &first, 0), Settled::Continue);
    assert_eq!(stream.next_step(&plan, SECOND), Next::Waits, "the second request is still out");
    assert_eq!(stream.refused(&plan, &second, 0), Settled::SendAgain);
    let again = take(&mut stream, &plan, SECOND);
    assert_eq!(names(again), (0, 3));
    assert_eq!(again.arrivals.map(|arrivals| arrivals.at()), Some(0));
}

#[test]
fn refused_records_are_given_up_when_a_later_one_was_accepted_or_is_unknown() {
    for answer in [Stream::accepted, Stream::given_up] {
        let plan = plan(None, 0);
        let mut stream = stream(&plan, 9);
        let first = take(&mut stream, &plan, 0);
        let second = take(&mut stream, &plan, 0);
        stream.refused(&plan, &first, 0);
        assert_eq!(answer(&mut stream, &plan, &second), Settled::GaveUp(3));
        assert_eq!(names(take(&mut stream, &plan, 0)), (6, 3));
    }
}

#[test]
fn dealt_records_leave_when_the_batch_is_full_or_has_lingered_and_come_back_when_refused() {
    let plan = plan(Some(1000), 2_000_000);
    let seat = Seat { stream: 0, partition: 0, slot: 0 };
    let mut stream = Stream::new(seat, u64::MAX, Supply::Dealt(Backlog::default()));
    assert_eq!(stream.next_step(&plan, 0), Next::Waits);
    let dealt = |at| Dealt { intended: at, key: None };
    stream.deal(&plan, dealt(10));
    assert_eq!(stream.next_step(&plan, 10), Next::At(2_000_010), "linger");
    for at in 11..14 {
        stream.deal(&plan, dealt(at));
    }
    assert_eq!(stream.next_step(&plan, 14), Next::Ready, "a fourth does not fit");
    let first = take(&mut stream, &plan, 14);
    assert_eq!(names(first), (0, 3));
    assert_eq!(stream.next_step(&plan, 14), Next::At(2_000_013));
    assert_eq!(stream.refused(&plan, &first, 0), Settled::SendAgain);
    let again = take(&mut stream, &plan, 14);
    let mut times = Vec::new();
    stream.for_each_time(&again, 0, |at, _| times.push(at));
    assert_eq!((names(again), times), ((0, 3), vec![10, 11, 12]));
    stream.accepted(&plan, &again);
    stream.close();
    let last = take(&mut stream, &plan, 14);
    assert_eq!(names(last), (3, 1));
    stream.accepted(&plan, &last);
    assert_eq!(stream.next_step(&plan, 14), Next::Finished);
}

fn idempotent(plan: &Plan, quota: u64) -> Stream {
    stream(plan, quota).idempotent()
}

#[test]
fn an_idempotent_producer_sends_lost_batches_again_as_they_were_and_before_any_other() {
    let plan = plan(None, 0);
    let mut stream = idempotent(&plan, 8);
    let batches: Vec<_> = (0..2).map(|at| take(&mut stream, &plan, at)).collect();
    assert_eq!(stream.accepted(&plan, &batches[0]), Settled::Continue);
    let third = take(&mut stream, &plan, 2);
    assert_eq!(stream.lost(&plan, &batches[1], 1), Settled::Continue);
    assert_eq!(stream.next_step(&plan, 3), Next::Waits, "for the third");
    assert!(stream.take(&plan, 3).is_none());
    assert_eq!(stream.lost(&plan, &third, 2), Settled::SendAgain);
    assert_eq!((stream.unsettled(), stream.next_step(&plan, 3)), (5, Next::Ready));
    let again: Vec<_> = (0..2).map(|_| take(&mut stream, &plan, 9)).collect();
    assert_eq!(again.iter().map(|taken| names(*taken)).collect::<Vec<_>>(), [(3, 3), (6, 2)]);
    let mut times = Vec::new();
    again.iter().for_each(|taken| stream.for_each_time(taken, 9, |at, count| times.push((at, count))));
    assert_eq!(times, [(1, 3), (2, 2)], "they count from when they were sent first");
    again.iter().for_each(|taken| assert_eq!(stream.accepted(&plan, taken), Settled::Continue));
    assert_eq!((stream.unsettled(), stream.next_step(&plan, 9)), (0, Next::Finished));
}

#[test]
fn batches_sent_again_and_refused_keep_their_bounds_and_their_order() {
    let plan = plan(Some(1000), 0);
    let mut stream = idempotent(&plan, 100);
    let first = take(&mut stream, &plan, 1_500_000);
    assert_eq!(names(first), (0, 2), "what was due");
    let second = take(&mut stream, &plan, 2_500_000);
    assert_eq!(stream.lost(&plan, &first, 0), Settled::Continue);
    assert_eq!(stream.lost(&plan, &second, 0), Settled::SendAgain);
    let first = take(&mut stream, &plan, SECOND);
    let second = take(&mut stream, &plan, SECOND);
    assert_eq!(stream.refused(&plan, &first, 0), Settled::Continue, "the leader has moved");
    assert!(stream.is_oldest(&first) && !stream.is_oldest(&second));
    assert_eq!(stream.refused(&plan, &second, 0), Settled::SendAgain);
    let bounds: Vec<_> = (0..3).map(|_| names(take(&mut stream, &plan, SECOND))).collect();
    assert_eq!(bounds, [(0, 2), (2, 1), (3, 3)], "then new ones");
}

#[test]
fn what_is_to_be_sent_again_is_still_known_when_a_later_batch_was_accepted() {
    let plan = plan(Some(1000), 0);
    let seat = Seat { stream: 0, partition: 0, slot: 0 };
    let mut stream = Stream::new(seat, u64::MAX, Supply::Dealt(Backlog::default())).idempotent();
    for at in 0..6 {
        stream.deal(&plan, Dealt { intended: at, key: None });
    }
    let (first, second) = (take(&mut stream, &plan, SECOND), take(&mut stream, &plan, SECOND));
    stream.refused(&plan, &first, 0);
    assert_eq!(stream.accepted(&plan, &second), Settled::SendAgain);
    let again = take(&mut stream, &plan, SECOND);
    let mut times = Vec::new();
    stream.for_each_time(&again, 0, |at, _| times.push(at));
    assert_eq!((names(again), times), ((0, 3), vec![0, 1, 2]));
}
