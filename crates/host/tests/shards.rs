//! Volumes of several shards: one request over many, a flush over all, and one that is stuck while the others go on.

mod stage;

use base::io::net::Peer;
use base::time::Duration;
use base::{BLOCK_BYTES, Epoch, NodeId};
use host::Op;
use stage::*;
use wire::{Configure, Message};

/// Five shards of eight blocks and one of four, each led by another of three nodes in turn.
fn attached() -> Stage {
    let mut s = Stage::new();
    s.attach(44, 8, (0..6).map(|index| config(index, 5, 1 + u64::from(index) % 3)).collect());
    (1..=3).for_each(|n| s.up(Peer::Node(NodeId(n))));
    s.step();
    s
}

#[test]
fn a_trim_over_all_shards_is_one_answer_and_its_ragged_edges_are_written() {
    let mut s = attached();
    let tag = s.submit(Op::Trim { offset: 512, len: 44 * BLOCK - 1024 });
    let edges = s.ios();
    assert_eq!(edges.iter().map(|e| shard_of(e).index).collect::<Vec<_>>(), [0, 5]);
    edges.iter().for_each(|edge| s.done(edge, vec![7; BLOCK_BYTES]));
    let sent = s.ios();
    let trims: Vec<_> = sent
        .iter()
        .filter_map(|io| match &io.message {
            Message::Trim(m) => Some((m.shard.index, m.block, m.count)),
            _ => None,
        })
        .collect();
    assert_eq!(trims, [(0, 1, 7), (1, 0, 8), (2, 0, 8), (3, 0, 8), (4, 0, 8), (5, 0, 3)]);
    assert_eq!(sent.len(), trims.len() + 2);
    let (last, others) = sent.split_last().unwrap();
    others.iter().for_each(|io| s.done(io, vec![]));
    s.step();
    assert!(s.replies().is_empty());
    s.done(last, vec![]);
    s.step();
    assert_eq!(s.reply(), ok(tag));
}

#[test]
fn a_flush_waits_for_every_shard_and_not_for_what_came_after_it() {
    let mut s = attached();
    let before: Vec<u64> = (0..6).map(|index| s.submit(write(index * 8, 1, 1))).collect();
    let flush = s.submit(Op::Flush);
    let after = s.submit(write(1, 1, 2));
    let sent = s.ios();
    assert_eq!(sent.len(), 7);
    sent[..5].iter().for_each(|io| s.done(io, vec![]));
    s.step();
    assert_eq!(s.replies(), before[..5].iter().map(|tag| ok(*tag)).collect::<Vec<_>>());
    s.done(&sent[5], vec![]);
    s.step();
    assert_eq!(s.replies(), [ok(before[5]), ok(flush)]);
    s.done(&sent[6], vec![]);
    s.step();
    assert_eq!(s.reply(), ok(after));
}

#[test]
fn one_stuck_shard_holds_up_what_touches_it_and_nothing_else() {
    let mut s = attached();
    let over_two = s.submit(write(14, 4, 1));
    let sent = s.ios();
    assert_eq!(sent.iter().map(|io| shard_of(io).index).collect::<Vec<_>>(), [1, 2]);
    // Shard 2 answers nothing. The other part of the request is done, and its blocks stay its own.
    s.done(&sent[0], vec![]);
    let (overlapping, beside) = (s.submit(write(15, 1, 2)), s.submit(write(8, 4, 3)));
    let go: Vec<_> = s.ios();
    assert_eq!(go.len(), 1);
    s.done(&go[0], vec![]);
    s.step();
    assert_eq!(s.reply(), ok(beside));
    s.pass(Duration::from_secs(3));
    let stuck: Vec<_> = s.host.stuck().map(|stuck| (stuck.shard, stuck.primary)).collect();
    assert_eq!(stuck, [(shard(2), NodeId(3))]);
    for round in 0..20 {
        let index = [0, 1, 3, 4, 5][round % 5];
        let tag = s.submit(write(index * 8 + 1, 1, 4));
        let sent = s.ios();
        s.done(&sent[0], vec![]);
        s.step();
        assert_eq!(s.reply(), ok(tag), "shard {index} goes on");
    }
    // Another leads it: what waited is sent there, then what waited for that.
    s.zone_says(Configure {
        cluster: base::ClusterId(1),
        revision: base::Revision(60),
        configs: vec![config(2, 6, 1)],
    });
    let again = s.ios();
    assert!(again.len() == 1 && again[0].epoch() == 6 && again[0].to == Peer::Node(NodeId(1)));
    s.done(&again[0], vec![]);
    let last = s.ios();
    assert_eq!(s.reply(), ok(over_two));
    s.done(&last[0], vec![]);
    s.step();
    assert_eq!((s.reply(), s.host.stuck().count()), (ok(overlapping), 0));
}

#[test]
fn a_fail_over_of_one_shard_sends_nothing_of_another_again() {
    let mut s = attached();
    (0..6).for_each(|index| _ = s.submit(write(index * 8, 1, 1)));
    assert_eq!(s.ios().len(), 6);
    s.zone_says(Configure {
        cluster: base::ClusterId(1),
        revision: base::Revision(60),
        configs: vec![config(4, 6, 1)],
    });
    let again = s.ios();
    assert_eq!(again.iter().map(|io| (shard_of(io).index, Epoch(io.epoch()))).collect::<Vec<_>>(), [(4, Epoch(6))]);
}
