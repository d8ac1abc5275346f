//! A volume that grows while it is attached: usable at once, told to the authority, and never smaller again.

mod stage;

use base::io::net::Peer;
use base::{Generation, NodeId};
use host::{News, Op, Refusal, Reply};
use stage::*;
use wire::{AttachState, Message};

/// A shard of eight blocks and one of four.
fn attached() -> Stage {
    let mut s = Stage::new();
    s.attach(12, 8, vec![config(0, 5, 1), config(1, 5, 2)]);
    (1..=3).for_each(|n| s.up(Peer::Node(NodeId(n))));
    assert_eq!(told(&mut s), [12]);
    s.host.news().for_each(drop);
    s
}

/// What one step said of the size; it says nothing else.
fn told(s: &mut Stage) -> Vec<u64> {
    let size = |sent: stage::Sent| match sent.message {
        Message::AttachState(AttachState { generation: Generation(4), open: true, size, .. }) => size / BLOCK,
        other => panic!("{other:?}"),
    };
    s.step().into_iter().map(size).collect()
}

/// The second shard in a later epoch, and a third.
fn grown() -> Vec<base::Configuration> {
    vec![config(0, 5, 1), config(1, 6, 2), config(2, 1, 3)]
}

#[test]
fn requests_go_to_the_new_part_at_once_and_what_is_under_way_is_not_disturbed() {
    let mut s = attached();
    let attachments = s.host.attachments();
    let (old, beyond) = (s.submit(write(7, 2, 1)), s.submit(write(12, 1, 1)));
    let sent = s.ios();
    assert_eq!(sent.len(), 2);
    let refusal = Refusal::OutOfRange { size: 12 * BLOCK };
    assert_eq!(s.reply(), Reply { tag: beyond, result: Err(refusal) });
    s.attach(20, 8, grown());
    // What the second shard had not answered goes to its new epoch.
    let again = s.step();
    assert_eq!(
        again.iter().filter(|m| m.is_io()).map(|m| (shard_of(m).index, m.epoch())).collect::<Vec<_>>(),
        [(1, 6)]
    );
    assert!(again.iter().any(|m| matches!(&m.message, Message::AttachState(a) if a.size == 20 * BLOCK)));
    assert_eq!(s.host.volume(VOLUME).map(|e| (e.size, e.generation)), Some((20 * BLOCK, Generation(4))));
    assert_eq!(s.host.news().collect::<Vec<_>>(), [News::Grown { volume: VOLUME, size: 20 * BLOCK }]);
    assert_eq!(s.host.attachments(), attachments + 1, "whoever keeps an export looks again");
    let new = s.submit(write(10, 10, 2));
    let parts = s.ios();
    assert_eq!(parts.iter().map(|io| shard_of(io).index).collect::<Vec<_>>(), [1, 2]);
    let io = |m: &&Sent| m.is_io();
    for io in sent[..1].iter().chain(again.iter().filter(io)).chain(&parts) {
        s.done(io, vec![]);
    }
    s.step();
    assert_eq!(s.replies(), [ok(old), ok(new)]);
    let flush = s.submit(Op::Flush);
    s.step();
    assert_eq!(s.reply(), ok(flush));
}

#[test]
fn a_size_comes_any_number_of_times_and_an_older_one_changes_nothing() {
    let mut s = attached();
    for size in [20, 20, 12] {
        s.attach(size, 8, grown());
        assert_eq!(told(&mut s), [20]);
    }
    assert_eq!(s.host.news().count(), 1);
    assert_eq!(s.host.volume(VOLUME).map(|e| e.size), Some(20 * BLOCK));
}

#[test]
fn a_size_without_the_configurations_of_its_shards_is_not_taken() {
    let mut s = attached();
    let mut other = config(2, 1, 3);
    other.generation = Generation(3);
    for configs in [vec![config(0, 5, 1), config(1, 5, 2)], vec![other]] {
        s.attach(20, 8, configs);
        assert_eq!(told(&mut s), [12], "what is open stays open");
        let tag = s.submit(write(0, 1, 1));
        let sent = s.ios();
        s.done(&sent[0], vec![]);
        s.step();
        assert_eq!(s.reply(), ok(tag));
    }
}

#[test]
fn a_volume_that_grows_before_it_is_open_opens_at_its_new_size() {
    let mut s = Stage::new();
    s.attach(12, 8, vec![config(0, 5, 1)]);
    assert!(s.step().is_empty());
    s.attach(20, 8, vec![config(2, 1, 3)]);
    assert!(s.step().is_empty() && s.host.volume(VOLUME).is_none());
    s.attach(20, 8, grown());
    assert_eq!(told(&mut s), [20]);
}
