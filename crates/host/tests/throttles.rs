//! Throttles: rates hold, nothing fails or is overtaken, and what waits is not called stuck.

mod stage;

use base::Rng;
use base::io::Machine;
use base::io::net::Peer;
use base::time::Duration;
use host::{Op, Policy, Refusal, Reply};
use stage::*;
use wire::{Detached, Message, Throttle, Throttled, ThrottledVolume};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn limited(throttle: Throttle) -> Stage {
    let mut s = Stage::attached();
    change(&mut s, throttle);
    s
}

fn change(s: &mut Stage, throttle: Throttle) {
    s.zone_says(Throttled { volume: VOLUME, throttle });
    s.step();
}

/// What was done within a time by a client that always has so many requests in flight, on a cluster that answers at once. With when.
fn load(s: &mut Stage, time: Duration, depth: usize, mut next: impl FnMut() -> Op) -> Vec<(base::Time, Op)> {
    let (end, mut open, mut done) = (s.now + time, std::collections::BTreeMap::new(), vec![]);
    loop {
        while open.len() < depth {
            let op = next();
            open.insert(s.submit(op.clone()), op);
        }
        let mut sent = s.ios();
        while !sent.is_empty() {
            for io in &sent {
                let bytes = if let Message::Read(m) = &io.message { u64::from(m.count) * BLOCK } else { 0 };
                s.done(io, vec![0; bytes as usize]);
            }
            sent = s.ios();
        }
        let replies = s.replies();
        for reply in &replies {
            assert!(reply.result.is_ok(), "{reply:?}");
            done.push((s.now, open.remove(&reply.tag).expect("what is answered was asked")));
        }
        if replies.is_empty() {
            let at = s.host.deadline().expect("something waits");
            if at > end {
                return done;
            }
            s.now = s.now.max(at);
        }
    }
}

fn bytes(done: &[(base::Time, Op)]) -> u64 {
    let of = |op: &Op| match op {
        Op::Read { len, .. } => *len,
        Op::Write { data, .. } => data.len() as u64,
        Op::Trim { .. } | Op::Zero { .. } | Op::Flush | Op::Map { .. } => 0,
    };
    done.iter().map(|(_, op)| of(op)).sum()
}

#[track_caller]
fn within_a_percent(got: u64, wanted: u64) {
    assert!(got.abs_diff(wanted) <= wanted / 100, "{got} and not {wanted}");
}

fn random(rng: &mut Rng, kib: &[u64]) -> Op {
    let len = rng.pick(kib).unwrap() * KIB;
    let offset = rng.below((4 * MIB - len) / 512 + 1) * 512;
    match rng.chance(1, 2) {
        true => Op::Read { offset, len },
        false => Op::Write { offset, data: vec![1; len as usize].into() },
    }
}

#[test]
fn so_many_small_ios_are_done_in_a_second_and_no_more() {
    for (iops, depth) in [(10, 1), (500, 1), (500, 32), (16_000, 64)] {
        let mut s = limited(Throttle { iops, bytes_per_s: 0 });
        let mut rng = Rng::new(iops);
        let done = load(&mut s, Duration::from_secs(10), depth, || random(&mut rng, &[4]));
        within_a_percent(done.len() as u64, 10 * iops);
    }
}

#[test]
fn so_many_bytes_go_in_a_second_whatever_the_sizes() {
    for sizes in [&[4][..], &[1024], &[4, 64, 1024]] {
        let mut s = limited(Throttle { iops: 0, bytes_per_s: 20 * MIB });
        let mut rng = Rng::new(1);
        let done = load(&mut s, Duration::from_secs(10), 8, || random(&mut rng, sizes));
        within_a_percent(bytes(&done), 200 * MIB);
    }
}

#[test]
fn of_two_limits_a_mixed_load_meets_the_nearer_and_exceeds_neither() {
    // Small ones meet the first limit, large ones the second; a large one is several I/Os.
    for (sizes, ios, megabytes) in [(&[4, 8][..], Some(10_000), None), (&[4, 64, 256, 1024], None, Some(400))] {
        let mut s = limited(Throttle { iops: 1000, bytes_per_s: 40 * MIB });
        let mut rng = Rng::new(2);
        let done = load(&mut s, Duration::from_secs(10), 16, || match rng.below(20) {
            0 => Op::Trim { offset: 0, len: 4 * MIB },
            1 => Op::Zero { offset: 4096, len: 8192 },
            2 => Op::Flush,
            _ => random(&mut rng, sizes),
        });
        let cost = |op: &Op| match op {
            Op::Read { len, .. } => len.div_ceil(256 * KIB),
            Op::Write { data, .. } => (data.len() as u64).div_ceil(256 * KIB),
            Op::Trim { .. } | Op::Zero { .. } | Op::Map { .. } => 1,
            Op::Flush => 0,
        };
        let all: u64 = done.iter().map(|(_, op)| cost(op)).sum();
        ios.inspect(|wanted| within_a_percent(all, *wanted));
        megabytes.inspect(|wanted| within_a_percent(bytes(&done), wanted * MIB));
        assert!(all <= 10_100 && bytes(&done) <= 404 * MIB);
        // Over any second too, but for what is saved up and the last one's size.
        for (n, (from, _)) in done.iter().enumerate().step_by(97) {
            let second: Vec<_> =
                done[n..].iter().take_while(|(at, _)| at.since(*from) < Duration::from_secs(1)).cloned().collect();
            assert!(bytes(&second) <= 42 * MIB + MIB && second.iter().map(|(_, op)| cost(op)).sum::<u64>() <= 1_054);
        }
    }
}

#[test]
fn a_request_larger_than_what_is_saved_up_is_not_starved_by_small_ones() {
    let mut s = limited(Throttle { iops: 0, bytes_per_s: 64 * KIB });
    let mut row = [write(0, 1, 1), write(100, 64, 2), Op::Flush].into_iter();
    let mut rng = Rng::new(1);
    let done = load(&mut s, Duration::from_secs(8), 50, || row.next().unwrap_or_else(|| random(&mut rng, &[4])));
    // The second pays 256 KiB at 64 KiB a second; all that came behind it waits, and then has its turn in order.
    let began = done[0].0;
    assert!(done[1].1 == write(100, 64, 2) && done[2].1 == Op::Flush && done[2].0 == done[1].0);
    let waited = done[1].0.since(began);
    assert!(waited > Duration::from_millis(3_900) && waited <= Duration::from_millis(4_100), "{waited:?}");
    within_a_percent(bytes(&done), 8 * 64 * KIB);
}

#[test]
fn what_waits_at_the_gate_is_reported_as_throttled_and_never_as_stuck() {
    let mut s = Stage::attached_with(Policy { report: Duration::from_millis(500), ..Policy::default() });
    change(&mut s, Throttle { iops: 1, bytes_per_s: 0 });
    let tags: Vec<u64> = (0..4).map(|block| s.submit(write(block, 1, 1))).collect();
    let mut reports = vec![];
    let mut replies = vec![];
    for _ in 0..50 {
        for (_, sent) in s.pass(Duration::from_millis(100)) {
            match sent.message {
                Message::Write(_) => s.done(&sent, vec![]),
                Message::HostReport(m) => reports.push(m),
                other => panic!("nobody is asked or blamed: {other:?}"),
            }
        }
        s.step();
        replies.extend(s.replies());
        assert_eq!(s.host.stuck().count(), 0);
    }
    assert_eq!(replies, tags.iter().map(|tag| ok(*tag)).collect::<Vec<_>>(), "all, in their order");
    assert!(reports.iter().all(|m| m.stuck.is_empty() && m.throttled.len() == 1));
    assert!(reports.len() <= 8, "twice a second at most: {reports:?}");
    assert_eq!(reports[0].throttled[0], ThrottledVolume { volume: VOLUME, waiting: 3, waiting_ms: 500, delayed: 0 });
    let last = reports.last().unwrap().throttled[0];
    assert_eq!((last.waiting, last.delayed), (0, 3), "the last word is that nothing waits any more");
    assert_eq!(s.host.deadline(), None, "an idle host costs nothing");
}

#[test]
fn a_stuck_shard_of_a_throttled_volume_is_reported_as_both() {
    let mut s = limited(Throttle { iops: 1, bytes_per_s: 0 });
    (0..3).for_each(|block| _ = s.submit(write(block, 1, 1)));
    let sent = s.pass(Duration::from_millis(1_500));
    let report = sent.iter().rev().find_map(|(_, sent)| match &sent.message {
        Message::HostReport(m) => Some(m.clone()),
        _ => None,
    });
    let report = report.expect("I/O waits");
    assert_eq!((report.stuck.len(), report.throttled.len()), (1, 1), "{report:?}");
    assert!(report.stuck[0].waiting_ms >= 1_000, "only what has passed the gate counts");
}

#[test]
fn a_throttle_changes_while_requests_wait() {
    let mut s = limited(Throttle { iops: 1, bytes_per_s: 0 });
    let tags: Vec<u64> = (0..20).map(|block| s.submit(write(block, 1, 1))).collect();
    assert_eq!(s.ios().len(), 1);
    s.zone_says(Throttled { volume: VOLUME, throttle: Throttle { iops: 100, bytes_per_s: 0 } });
    assert_eq!(s.ios().len(), 5, "what the new one has saved up");
    s.zone_says(Throttled { volume: VOLUME, throttle: Throttle { iops: 100, bytes_per_s: 0 } });
    assert_eq!(s.ios().len(), 0, "said again it saves up nothing");
    s.zone_says(Throttled { volume: VOLUME, throttle: Throttle::default() });
    assert_eq!(s.ios().len(), tags.len() - 6);
}

#[test]
fn a_volume_is_attached_with_its_throttle_and_told_again_with_the_newest() {
    let mut s = Stage::new();
    let throttle = Throttle { iops: 20, bytes_per_s: 0 };
    let volume = wire::VolumeInfo { volume: VOLUME, size: 1024 * BLOCK, shard_blocks: 1024 };
    let generation = base::Generation(4);
    let attached = |throttle| wire::Attached {
        volume: volume.clone(),
        generation,
        read_only: false,
        throttle,
        configs: vec![config(0, 5, 1)],
    };
    s.zone_says(attached(throttle));
    s.step();
    s.up(Peer::Node(base::NodeId(1)));
    s.step();
    (0..9).for_each(|block| _ = s.submit(write(block, 1, 1)));
    assert_eq!(s.ios().len(), 1);
    s.zone_says(attached(Throttle::default()));
    assert_eq!(s.ios().len(), 8);
}

#[test]
fn what_can_never_be_done_does_not_wait_and_a_detached_volume_answers_what_waits() {
    let mut s = limited(Throttle { iops: 1, bytes_per_s: 0 });
    let tags = [0, 1, 2].map(|block| s.submit(write(block, 1, 1)));
    let beyond = s.submit(write(1024, 1, 1));
    s.step();
    assert_eq!(s.reply(), Reply { tag: beyond, result: Err(Refusal::OutOfRange { size: 1024 * BLOCK }) });
    s.zone_says(Detached { volume: VOLUME, generation: base::Generation(4) });
    s.zone_says(Throttled { volume: VOLUME, throttle: Throttle { iops: 1, bytes_per_s: 0 } });
    s.step();
    assert_eq!(s.replies(), tags.map(|tag| Reply { tag, result: Err(Refusal::Detached) }));
    assert!(s.pass(Duration::from_secs(5)).is_empty(), "no report of a volume that is gone");
    assert_eq!(s.host.deadline(), None);
}
