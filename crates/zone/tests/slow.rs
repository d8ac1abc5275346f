//! Slow members: who is taken for slow and who is not, that it is put out within a budget and comes back, and that nothing is risked for it.

mod world;

use base::*;
use wire::*;
use world::World;
use zone::Policy;

fn disk(count: u32, median_us: u32, p99_us: u32) -> DiskReport {
    DiskReport { count, median_us, p99_us, oldest_us: 0 }
}

const WELL: DiskReport = DiskReport { count: 500, median_us: 900, p99_us: 3000, oldest_us: 0 };
const TEN_TIMES: DiskReport = DiskReport { count: 60, median_us: 9000, p99_us: 30_000, oldest_us: 0 };

/// Nodes that all do as well as each other, and a volume of three copies on three of them.
fn busy(nodes: u64) -> (World, VolumeId) {
    busy_with(nodes, Policy::default())
}

fn busy_with(nodes: u64, policy: Policy) -> (World, VolumeId) {
    let mut w = World::with(nodes, policy, 1);
    w.nodes.values_mut().for_each(|n| n.disk = WELL);
    let volume = w.volume(1, 3);
    w.pass_ms(3000);
    (w, volume)
}

fn set(w: &mut World, n: u64, disk: DiskReport) {
    w.nodes.get_mut(&NodeId(n)).unwrap().disk = disk;
}

fn counters(w: &mut World) -> ZoneCounters {
    zone_state(w).counters
}

fn zone_state(w: &mut World) -> ZoneState {
    let Message::ZoneReply(m) = w.told(DescribeZone {}) else { panic!("refused") };
    m.zone
}

fn is_member(w: &World, volume: VolumeId, n: u64) -> bool {
    w.first(volume).member_on(NodeId(n)).is_some()
}

fn admit(w: &mut World, volume: VolumeId) {
    let c = w.first(volume);
    let outcome = w.propose(c.primary.0, w.admission(&c));
    assert!(matches!(outcome, Some(ProposalOutcome::Granted { .. })), "{outcome:?}");
}

#[test]
fn a_backup_whose_disk_is_ten_times_slower_is_put_out_and_people_are_told_with_the_figures() {
    let (mut w, volume) = busy(4);
    let n = w.backup(&w.first(volume), 0);
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(1000);
    assert!(is_member(&w, volume, n), "one report does not show it");
    w.pass_ms(1000);
    let c = w.first(volume);
    assert!(c.members.len() == 2 && c.holders.iter().any(|m| m.node.0 == n), "{c:?}");
    assert_eq!(w.state(volume).condition, VolumeCondition::Degraded);
    let state = w.node_state(n);
    let slow = state.slow.expect("it is said");
    assert_eq!((state.condition, state.disk), (NodeCondition::Up, TEN_TIMES));
    assert_eq!((slow.node, slow.seen, slow.fleet, slow.put_out, slow.kept), (NodeId(n), TEN_TIMES, WELL, 1, 0));
    assert_eq!(zone_state(&mut w).slow.iter().map(|s| s.node.0).collect::<Vec<_>>(), [n]);
    assert_eq!((counters(&mut w).slow_put_out, counters(&mut w).slow_kept), (1, 0));
    w.pass_ms(500);
    assert_eq!(w.node_state(n).slow.unwrap().for_ms, 500);
}

#[test]
fn a_slow_primary_hands_over_to_a_member() {
    let (mut w, volume) = busy(4);
    let before = w.first(volume);
    set(&mut w, before.primary.0, TEN_TIMES);
    w.pass_ms(2000);
    let c = w.first(volume);
    assert!(c.members.len() == 2 && c.member_on(before.primary).is_none() && c.is_member(*c.anchors.first().unwrap()));
    assert!(before.member_on(c.primary).is_some() && c.epoch > before.epoch);
}

#[test]
fn a_hiccup_is_no_slow_disk_nor_is_one_that_all_have_nor_one_too_small_to_feel() {
    let (mut w, volume) = busy(4);
    let n = w.backup(&w.first(volume), 0);
    let others: Vec<u64> = (1..=4).filter(|other| *other != n).collect();
    // Half take as much longer as a disk that is shared with somebody, and one in a hundred no longer than elsewhere.
    set(&mut w, n, disk(500, 5000, 9000));
    w.pass_ms(10_000);
    // One in a hundred takes long, and the others do not: somebody stopped the process for a moment, again and again.
    set(&mut w, n, disk(500, 1000, 400_000));
    w.pass_ms(10_000);
    // Long for one second only.
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(1000);
    set(&mut w, n, WELL);
    w.pass_ms(5000);
    // Hardly anything to conclude from.
    set(&mut w, n, disk(9, 90_000, 300_000));
    w.pass_ms(5000);
    // All the same.
    others.iter().for_each(|n| set(&mut w, *n, TEN_TIMES));
    set(&mut w, n, disk(60, 12_000, 60_000));
    w.pass_ms(5000);
    // Ten times slower than others that are ten times faster than anybody feels.
    others.iter().for_each(|n| set(&mut w, *n, disk(500, 90, 190)));
    set(&mut w, n, disk(500, 900, 1900));
    w.pass_ms(5000);
    assert!(is_member(&w, volume, n) && w.node_state(n).slow.is_none());
    assert_eq!((counters(&mut w).slow_put_out, counters(&mut w).slow_kept), (0, 0));
}

#[test]
fn an_operation_that_does_not_end_is_as_bad_though_everybody_waits_for_it() {
    let (mut w, volume) = busy(4);
    let n = w.backup(&w.first(volume), 0);
    // Nobody has anything to do any more.
    (1..=4).for_each(|n| set(&mut w, n, DiskReport::default()));
    set(&mut w, n, DiskReport { oldest_us: 900_000, ..DiskReport::default() });
    w.pass_ms(1000);
    set(&mut w, n, DiskReport { oldest_us: 1_900_000, ..DiskReport::default() });
    w.pass_ms(1000);
    assert!(is_member(&w, volume, n));
    set(&mut w, n, DiskReport { oldest_us: 2_900_000, ..DiskReport::default() });
    w.pass_ms(1000);
    set(&mut w, n, DiskReport { oldest_us: 3_900_000, ..DiskReport::default() });
    w.pass_ms(1000);
    assert!(!is_member(&w, volume, n) && w.node_state(n).slow.is_some());
}

#[test]
fn two_busy_nodes_are_not_compared() {
    let (mut w, volume) = busy(4);
    let c = w.first(volume);
    let n = w.backup(&c, 0);
    (1..=4).filter(|other| *other != n && *other != c.primary.0).for_each(|n| set(&mut w, n, DiskReport::default()));
    // What they said before does not count for ever.
    w.pass_ms(12_000);
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(5000);
    assert!(is_member(&w, volume, n) && w.node_state(n).slow.is_none());
}

#[test]
fn nobody_is_put_out_below_min_copies_and_it_is_counted_once() {
    let (mut w, _) = busy(4);
    let two = w.volume(1, 2);
    let n = w.backup(&w.first(two), 0);
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(10_000);
    let slow = w.node_state(n).slow.expect("it is slow all the same");
    assert!(is_member(&w, two, n) && slow.kept == 1, "{slow:?}");
    assert_eq!(counters(&mut w).slow_kept, 1);
    assert_eq!(counters(&mut w).slow_put_out, u64::from(slow.put_out));
}

#[test]
fn while_another_node_is_in_trouble_nobody_is_put_out() {
    let (mut w, volume) = busy(5);
    let c = w.first(volume);
    let n = w.backup(&c, 0);
    let spare = (1..=5).find(|other| c.member_on(NodeId(*other)).is_none()).unwrap();
    w.kill(spare);
    w.pass_ms(600);
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(5000);
    assert_eq!(w.node_state(spare).condition, NodeCondition::Suspect);
    let slow = w.node_state(n).slow.expect("it is slow all the same");
    assert!(is_member(&w, volume, n) && (slow.put_out, slow.kept) == (0, 1), "{slow:?}");
    assert_eq!(counters(&mut w).slow_kept, 1);
    // When that is over, it goes.
    w.restart(spare);
    w.pass_ms(1500);
    assert!(!is_member(&w, volume, n));
    let slow = w.node_state(n).slow.unwrap();
    assert_eq!((slow.put_out, slow.kept, counters(&mut w).slow_kept), (1, 0, 1));
}

#[test]
fn a_node_that_failed_and_is_not_missed_any_more_forbids_nothing() {
    let (mut w, volume) = busy(5);
    let c = w.first(volume);
    let spare = (1..=5).find(|other| c.member_on(NodeId(*other)).is_none()).unwrap();
    w.kill(spare);
    w.pass_ms(70_000);
    assert_eq!(w.node_state(spare).condition, NodeCondition::Failed);
    let n = w.backup(&c, 0);
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(2000);
    assert!(!is_member(&w, volume, n));
}

#[test]
fn one_node_is_put_out_in_a_minute_unless_few_volumes_are_concerned() {
    let (mut w, volume) = busy(7);
    let c = w.first(volume);
    let (first, second) = (w.backup(&c, 0), w.backup(&c, 1));
    // A volume that has both would not have enough copies without them: others, that have one.
    let mut of = |n: u64, not: u64| loop {
        let volume = w.volume(1, 3);
        if is_member(&w, volume, n) && !is_member(&w, volume, not) {
            return volume;
        }
    };
    let (a, b) = (of(first, second), of(second, first));
    set(&mut w, first, TEN_TIMES);
    set(&mut w, second, TEN_TIMES);
    w.pass_ms(20_000);
    let out = [is_member(&w, a, first), is_member(&w, b, second)].iter().filter(|there| !**there).count();
    assert_eq!(out, 1, "one of them is put out");
    assert!([first, second].iter().all(|n| w.node_state(*n).slow.is_some()));
    w.pass_ms(45_000);
    assert!(!is_member(&w, a, first) && !is_member(&w, b, second), "a minute later the other");
    assert_eq!(w.first(volume).members.len(), 2, "but not where too few would be left");

    // Where a thousandth part is much, both go at once.
    let (mut w, _) = busy_with(7, Policy { slow_permille: 1000, ..Policy::default() });
    let volumes: Vec<VolumeId> = (0..12).map(|_| w.volume(1, 3)).collect();
    set(&mut w, 1, TEN_TIMES);
    set(&mut w, 2, TEN_TIMES);
    w.pass_ms(3000);
    for volume in volumes {
        let c = w.first(volume);
        let left = [1, 2].iter().filter(|n| c.member_on(NodeId(**n)).is_some()).count();
        assert!(left == 0 || c.members.len() == 2, "{c:?}");
    }
}

#[test]
fn who_was_put_out_comes_back_by_learning_and_each_relapse_takes_it_twice_as_long() {
    let (mut w, volume) = busy(4);
    let n = w.backup(&w.first(volume), 0);
    for probation in [60_000, 120_000, 240_000] {
        set(&mut w, n, TEN_TIMES);
        w.pass_ms(2000);
        assert!(!is_member(&w, volume, n), "before {probation}");
        // It has nothing to do now, and so nothing bad to say.
        set(&mut w, n, DiskReport::default());
        w.pass_ms(probation - 1000);
        assert!(w.node_state(n).slow.is_some() && w.first(volume).learner.is_none(), "{probation}");
        w.pass_ms(1500);
        assert!(w.node_state(n).slow.is_none());
        let c = w.first(volume);
        assert_eq!(c.learner.map(|l| l.member.node.0), Some(n), "it comes back, and nobody took its place");
        admit(&mut w, volume);
        set(&mut w, n, WELL);
        w.pass_ms(1000);
        assert!(is_member(&w, volume, n) && w.released.is_empty());
    }
    assert_eq!(counters(&mut w).slow_put_out, 3);
}

#[test]
fn probation_has_a_longest_and_a_node_that_did_well_for_long_begins_anew() {
    let policy = Policy { slow_probation_max: base::time::Duration::from_secs(100), ..Policy::default() };
    let (mut w, volume) = busy_with(4, policy);
    let n = w.backup(&w.first(volume), 0);
    let left = |w: &mut World| {
        set(w, n, TEN_TIMES);
        w.pass_ms(2000);
        let left = w.node_state(n).slow.unwrap().left_ms;
        set(w, n, WELL);
        w.pass_ms(left + 1000);
        assert!(w.node_state(n).slow.is_none());
        left
    };
    assert_eq!([left(&mut w), left(&mut w), left(&mut w)], [60_000, 100_000, 100_000]);
    w.pass_ms(201_000);
    assert_eq!(left(&mut w), 60_000);
}

#[test]
fn a_learner_that_is_slow_is_not_taught_any_further() {
    let (mut w, volume) = busy(4);
    let n = w.backup(&w.first(volume), 0);
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(2000);
    set(&mut w, n, DiskReport::default());
    w.pass_ms(61_000);
    assert!(w.first(volume).learner.is_some());
    // What it is taught shows that its disk is as before.
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(2000);
    let c = w.first(volume);
    assert!(c.learner.is_none() && c.members.len() == 2 && c.holders.iter().any(|m| m.node.0 == n), "{c:?}");
    assert!(w.node_state(n).slow.unwrap().left_ms > 100_000);
}

#[test]
fn nobody_takes_its_place_before_remirror_after_and_then_another_does() {
    let (mut w, volume) = busy(4);
    let n = w.backup(&w.first(volume), 0);
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(15 * 60 * 1000);
    // It is shown to be slow all the time.
    assert!(w.first(volume).learner.is_none() && w.node_state(n).slow.is_some());
    w.pass_ms(3000);
    let learner = w.first(volume).learner.expect("another learns now").member.node;
    assert_ne!(learner.0, n);
    admit(&mut w, volume);
    w.pass_ms(2000);
    assert_eq!(w.released.iter().map(|(_, m)| m.node.0).collect::<Vec<_>>(), [n]);
}

#[test]
fn a_new_volume_goes_to_others_unless_there_are_too_few() {
    let (mut w, volume) = busy(4);
    let n = w.backup(&w.first(volume), 0);
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(2000);
    let three = w.volume(1, 3);
    assert!(!is_member(&w, three, n));
    let four = w.volume(1, 4);
    assert!(is_member(&w, four, n), "rather slow than not at all");
}

#[test]
fn a_node_that_restarts_stays_slow_and_one_with_another_disk_does_not() {
    let (mut w, volume) = busy(4);
    let n = w.backup(&w.first(volume), 0);
    set(&mut w, n, TEN_TIMES);
    w.pass_ms(2000);
    set(&mut w, n, DiskReport::default());
    w.restart(n);
    w.pass_ms(1000);
    assert!(w.node_state(n).slow.is_some() && w.first(volume).learner.is_none());
    w.restart_with_new_disk(n);
    w.pass_ms(1000);
    assert!(w.node_state(n).slow.is_none());
}
