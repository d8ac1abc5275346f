//! What a host does when a primary is gone, slow, deposed or full: I/O waits, moves and goes on (R14, R15, R19).

mod stage;

use base::io::Machine;
use base::io::net::{Down, Op as NetOp, Peer};
use base::time::Duration;
use base::{BLOCK_BYTES, ClusterId, Epoch, Generation, HostId, NodeId, Revision};
use host::{Op, Policy, Refusal, Reply};
use stage::*;
use wire::{Configure, Located, Message, Refusal as Why};

fn node(n: u64) -> Peer {
    Peer::Node(NodeId(n))
}

fn configure(s: &mut Stage, config: base::Configuration) {
    s.zone_says(Configure { cluster: ClusterId(1), revision: config.revision, configs: vec![config] });
}

/// Who was asked where the shard is, and whether with a complaint.
fn asked(sent: &[Sent]) -> Vec<(Peer, bool)> {
    let pick = |s: &Sent| if let Message::Locate(m) = &s.message { Some((s.to, m.waiting_ms > 0)) } else { None };
    sent.iter().filter_map(pick).collect()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_refusal_for_a_newer_epoch_moves_all_io_at_once_in_its_order() {
    let mut s = Stage::attached();
    let tags: Vec<u64> = (0..3).map(|i| s.submit(write(i, 1, i as u8))).collect();
    let old = s.ios();
    s.up(node(2));
    s.refused(&old[1], Why::NotPrimary { config: config(0, 6, 2) });
    let new = s.ios();
    assert_eq!(
        new.iter().map(|w| (w.to, w.epoch(), w.data[0][0])).collect::<Vec<_>>(),
        [(node(2), 6, 0), (node(2), 6, 1), (node(2), 6, 2)]
    );
    // I8: what the old primary still says does not count, done or not.
    s.done(&old[0], vec![]);
    s.refused(&old[2], Why::Full { room: 0 });
    assert!(s.step().is_empty() && s.replies().is_empty());
    new.iter().for_each(|w| s.done(w, vec![]));
    s.step();
    assert_eq!(s.replies(), tags.iter().map(|tag| ok(*tag)).collect::<Vec<_>>());
}

#[test]
fn a_reset_is_answered_by_asking_without_complaint_and_sending_again_when_the_link_is_back() {
    let mut s = Stage::attached();
    let tag = s.submit(write(0, 1, 1));
    let old = s.ios();
    s.down(node(1), Down::Reset);
    let sent = s.step();
    assert_eq!(asked(&sent), [(node(2), false), (node(3), false), (Peer::Zone, false)]);
    s.now += ms(5);
    s.up(node(1));
    let new = s.ios();
    assert_eq!((new.len(), new[0].epoch(), new[0].data == old[0].data), (1, 5, true));
    assert_ne!(new[0].io(), old[0].io());
    s.done(&old[0], vec![]);
    s.step();
    assert!(s.replies().is_empty(), "an answer to the first sending does not answer the second");
    s.done(&new[0], vec![]);
    s.step();
    assert_eq!(s.reply(), ok(tag));
    assert_eq!(s.host.deadline(), None);
}

#[test]
fn a_link_that_is_open_anew_carries_all_again_though_nobody_said_that_it_broke() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    let old = s.ios();
    s.up(node(1));
    s.done(&old[0], vec![]);
    assert_eq!(s.ios().len(), 1);
    assert!(s.replies().is_empty());
}

#[test]
fn a_primary_that_refuses_connections_is_complained_of_at_once() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    s.step();
    s.down(node(1), Down::Refused);
    assert_eq!(asked(&s.step()), [(node(2), true), (node(3), true), (Peer::Zone, true)]);
}

#[test]
fn silence_is_complained_of_after_250_ms_of_waiting() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    s.step();
    let start = s.now;
    s.now += ms(100);
    s.silent(1);
    assert_eq!(asked(&s.step()), [(node(2), false), (node(3), false), (Peer::Zone, false)]);
    let sent = s.pass(ms(200));
    let complaint = sent.iter().find(|(_, s)| matches!(&s.message, Message::Locate(m) if m.waiting_ms >= 250));
    assert_eq!(complaint.expect("a complaint came").0, start + ms(250));
    // The answer moves the I/O; the old primary, heard again, is left alone.
    s.up(node(3));
    s.says(node(2), Located { shard: shard(0), config: Some(config(0, 6, 3)) }, vec![]);
    let moved = s.ios();
    assert_eq!(moved.iter().map(|w| (w.to, w.epoch())).collect::<Vec<_>>(), [(node(3), 6)]);
    s.done(&moved[0], vec![]);
    s.step();
    assert_eq!(s.replies().len(), 1);
    assert!(s.pass(Duration::from_secs(10)).is_empty());
}

#[test]
fn a_primary_that_is_heard_is_never_complained_of() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    s.step();
    s.silent(1);
    s.step();
    s.heard(1);
    let sent: Vec<Sent> = s.pass(Duration::from_secs(5)).into_iter().map(|(_, s)| s).collect();
    let asked = asked(&sent);
    assert!(!asked.is_empty(), "after a second the host asks, in case it missed something");
    assert!(asked.iter().all(|(_, complaint)| !complaint), "{asked:?}");
    assert!(asked.contains(&(node(1), false)), "the primary is asked too");
}

#[test]
fn asking_backs_off_to_once_a_second() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    s.step();
    s.down(node(1), Down::Silent);
    s.step();
    let hour = s.pass(Duration::from_secs(3600));
    let questions = hour.iter().filter(|(_, s)| s.to == Peer::Zone && matches!(s.message, Message::Locate(_))).count();
    // R52: a stuck shard asks a bounded number of times an hour. Jitter lets it be up to three times as often as the cap alone.
    assert!((3_000..12_000).contains(&questions), "{questions}");
    // Each failed reconnection is no news.
    for _ in 0..100 {
        s.down(node(1), Down::Refused);
        let sent = s.step();
        assert!(sent.is_empty(), "{sent:?}");
    }
}

#[test]
fn no_link_to_a_new_primary_within_250_ms_makes_the_host_ask() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    s.step();
    configure(&mut s, config(0, 6, 2));
    assert!(s.ios().is_empty(), "there is no link to it yet");
    let start = s.now;
    let sent = s.pass(ms(260));
    let first = sent.first().expect("it asks");
    assert_eq!((first.0, first.1.to), (start + ms(250), node(1)), "{sent:?}");
    s.up(node(2));
    assert_eq!(s.ios().len(), 1);
    // What was known of a node before it led is no reason to accuse it; what becomes known now is.
    s.down(node(3), Down::Refused);
    configure(&mut s, config(0, 7, 3));
    assert_eq!(asked(&s.step()), []);
    s.down(node(3), Down::Refused);
    assert_eq!(asked(&s.step()), [(node(1), true), (node(2), true), (Peer::Zone, true)]);
}

#[test]
fn fail_over_never_fails_an_io_however_long_it_takes() {
    let mut s = Stage::attached();
    let tag = s.submit(write(0, 1, 1));
    let mut lost = s.ios();
    for epoch in 6..30 {
        s.down(node(1), if epoch % 2 == 0 { Down::Reset } else { Down::Refused });
        s.step();
        s.pass(Duration::from_secs(3600));
        let why = match epoch % 4 {
            0 => Why::WrongEpoch { config: config(0, 5, 1) },
            1 => Why::Unknown,
            2 => Why::Busy,
            _ => Why::NotPrimary { config: config(0, 5, 2) },
        };
        configure(&mut s, config(0, epoch, 1));
        s.step();
        s.up(node(1));
        let sent = s.ios();
        assert_eq!((sent.len(), sent[0].epoch()), (1, epoch));
        s.refused(&sent[0], why);
        assert!(s.ios().is_empty(), "not at once");
        let again: Vec<Sent> = s.pass(ms(60)).into_iter().map(|(_, s)| s).filter(Sent::is_io).collect();
        assert_eq!(again.len(), 1);
        s.done(&lost[0], vec![]);
        s.step();
        assert!(s.replies().is_empty()); // R15
        lost = again;
    }
    s.done(&lost[0], vec![]);
    s.step();
    assert_eq!(s.reply(), ok(tag));
}

#[test]
fn a_done_of_a_newer_epoch_makes_the_host_ask_for_it() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    let sent = s.ios();
    s.says(node(1), wire::Done { shard: shard(0), epoch: Epoch(9), io: sent[0].io() }, vec![]);
    let sent = s.step();
    assert_eq!(asked(&sent).len(), 4);
    assert!(s.replies().is_empty());
}

#[test]
fn a_busy_primary_is_sent_no_more_than_it_takes() {
    let mut s = Stage::attached();
    (0..8).for_each(|i| _ = s.submit(write(i, 1, i as u8)));
    let sent = s.ios();
    sent[2..].iter().for_each(|w| s.refused(w, Why::Busy));
    assert!(s.ios().is_empty(), "two are outstanding, and two is what it takes");
    assert!(s.pass(ms(200)).iter().all(|(_, s)| !s.is_io()));
    s.done(&sent[0], vec![]);
    let next = s.ios();
    assert_eq!(next.iter().map(|w| w.data[0][0]).collect::<Vec<_>>(), [2]);
    s.done(&sent[1], vec![]);
    assert_eq!(s.ios().len(), 2, "two were answered: it may take one more");
}

#[test]
fn an_answer_of_the_wrong_size_is_no_answer() {
    let mut s = Stage::attached();
    let tag = s.submit(Op::Read { offset: 0, len: BLOCK });
    let sent = s.ios();
    s.done(&sent[0], vec![1; 100]);
    assert!(s.ios().is_empty() && s.replies().is_empty());
    let again: Vec<Sent> = s.pass(ms(60)).into_iter().map(|(_, s)| s).filter(Sent::is_io).collect();
    s.done(&again[0], vec![1; BLOCK_BYTES]);
    s.step();
    assert_eq!(s.reply().tag, tag);
}

#[test]
fn what_a_node_cannot_do_is_told_to_the_front_end() {
    for (why, refusal) in [
        (Why::Full { room: 77 }, Refusal::Full { room: 77 }),
        (Why::Invalid, Refusal::Invalid),
        (Why::Unreadable { block: 3 }, Refusal::Unreadable { offset: (4 + 3) * BLOCK }),
    ] {
        let mut s = Stage::new();
        s.attach(8, 4, vec![config(0, 5, 1), config(1, 5, 1)]);
        s.up(node(1));
        s.step();
        let tag = s.submit(Op::Read { offset: 4 * BLOCK, len: 4 * BLOCK });
        let sent = s.ios();
        s.refused(&sent[0], why);
        s.step();
        assert_eq!(s.reply(), Reply { tag, result: Err(refusal) });
    }
}

#[test]
fn a_fenced_host_closes_the_volume() {
    let fences: [fn(&mut Stage, &Sent); 4] = [
        |s, sent| s.refused(sent, Why::Fenced),
        |s, sent| {
            let config = base::Configuration { generation: Generation(5), ..config(0, 9, 2) };
            s.refused(sent, Why::WrongEpoch { config });
        },
        |s, _| {
            let config = base::Configuration { generation: Generation(5), ..config(0, 9, 2) };
            s.says(node(2), Located { shard: shard(0), config: Some(config) }, vec![]);
        },
        |s, _| {
            let client = Some(HostId(2));
            configure(s, base::Configuration { generation: Generation(6), client, ..config(0, 9, 2) });
        },
    ];
    for fence in fences {
        let mut s = Stage::attached();
        let tag = s.submit(write(0, 1, 1));
        let sent = s.ios();
        fence(&mut s, &sent[0]);
        let told = s.step();
        assert!(matches!(&told[..], [Sent { message: Message::AttachState(m), .. }] if !m.open && m.generation.0 == 4));
        assert_eq!(s.reply(), Reply { tag, result: Err(Refusal::Detached) });
        assert_eq!(s.host.volume(VOLUME), None);
        assert_eq!(s.host.deadline(), None);
    }
}

#[test]
fn a_fence_against_an_earlier_sending_is_not_heard() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    let old = s.ios();
    configure(&mut s, config(0, 6, 1));
    assert_eq!(s.ios().len(), 1);
    s.refused(&old[0], Why::Fenced);
    s.step();
    assert!(s.host.volume(VOLUME).is_some());
}

#[test]
fn what_waits_for_a_second_is_reported_each_second_and_once_when_it_ends() {
    // R70
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    let sent = s.ios();
    let start = s.now;
    let reports = |sent: &[(base::Time, Sent)]| -> Vec<(Duration, u64)> {
        let pick = |(at, s): &(base::Time, Sent)| match &s.message {
            Message::HostReport(m) => {
                assert_eq!((m.stuck.len(), m.stuck[0].shard, m.stuck[0].epoch), (1, shard(0), Epoch(5)));
                Some((at.since(start), m.stuck[0].waiting_ms))
            }
            _ => None,
        };
        sent.iter().filter_map(pick).collect()
    };
    assert_eq!(reports(&s.pass(ms(3_500))), [(ms(1_000), 1_000), (ms(2_000), 2_000), (ms(3_000), 3_000)]);
    assert_eq!(s.host.stuck().map(|s| (s.shard, s.since)).collect::<Vec<_>>(), [(shard(0), start)]);
    // Out of touch, nothing is said and nothing is forgotten.
    s.down(Peer::Zone, Down::Reset);
    s.step();
    assert_eq!(reports(&s.pass(ms(1_000))), []);
    s.done(&sent[0], vec![]);
    s.step();
    assert_eq!((s.replies().len(), s.host.stuck().count()), (1, 0));
    s.up(Peer::Zone);
    let told: Vec<_> = s.step().into_iter().map(|sent| (s.now, sent)).collect();
    assert_eq!(reports(&told), [(ms(4_500), 0)]);
    assert!(s.pass(Duration::from_secs(60)).is_empty());
    assert_eq!(s.host.deadline(), None);
}

#[test]
fn a_stuck_volume_that_is_detached_is_no_longer_reported_as_stuck() {
    let mut s = Stage::attached_with(Policy { report: ms(500), ..Policy::default() });
    s.submit(write(0, 1, 1));
    s.step();
    s.pass(ms(700));
    assert_eq!(s.host.stuck().count(), 1);
    s.zone_says(wire::Detached { volume: VOLUME, generation: Generation(4) });
    s.step();
    let last = s.pass(Duration::from_secs(9));
    assert!(matches!(&last[..], [(_, Sent { message: Message::HostReport(m), .. })] if m.stuck[0].waiting_ms == 0));
}

#[test]
fn a_greater_revision_of_the_same_epoch_sends_nothing_again() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    let sent = s.ios();
    configure(&mut s, base::Configuration { revision: Revision(51), ..config(0, 5, 1) });
    assert!(s.step().is_empty());
    s.done(&sent[0], vec![]);
    s.step();
    assert_eq!(s.replies().len(), 1);
}

#[test]
fn io_that_comes_while_the_primary_is_gone_asks_at_once_and_waits() {
    let mut s = Stage::attached();
    s.down(node(1), Down::Rejected);
    assert!(s.step().is_empty(), "nothing waits");
    s.silent(1);
    assert!(s.step().is_empty(), "nothing waits");
    s.submit(write(0, 1, 1));
    assert_eq!(asked(&s.step()).len(), 3);
    assert!(s.replies().is_empty());
}

#[test]
fn only_members_with_a_known_address_are_asked() {
    let mut s = Stage::new();
    let mut members = config(0, 5, 1);
    members.members.push(member(8));
    s.attach(1024, 1024, vec![members]);
    s.step();
    s.submit(write(0, 1, 1));
    s.down(node(1), Down::Refused);
    assert_eq!(asked(&s.step()).iter().map(|a| a.0).collect::<Vec<_>>(), [node(2), node(3), Peer::Zone]);
    // Out of touch with the authority, members are asked all the same (R59).
    s.down(Peer::Zone, Down::Refused);
    s.step();
    let sent: Vec<Sent> = s.pass(ms(500)).into_iter().map(|(_, s)| s).collect();
    assert!(asked(&sent).iter().all(|a| a.0 != Peer::Zone) && asked(&sent).len() >= 2);
}

#[test]
fn a_primary_whose_address_comes_later_is_watched_then() {
    let mut s = Stage::new();
    let mut config = config(0, 5, 8);
    config.members.push(member(8));
    s.attach(1024, 1024, vec![config]);
    s.step();
    let watched = |s: &Stage| s.asked.iter().any(|op| matches!(op, NetOp::Watch { peer: Peer::Node(NodeId(8)), .. }));
    assert!(!watched(&s));
    let entry = |port: u16| {
        let at = wire::Address(([127, 0, 0, 1], port).into());
        wire::NodeEntry { node: NodeId(8), primary: at, replication: at }
    };
    s.zone_says(wire::Directory { nodes: vec![entry(1)] });
    s.step();
    assert!(watched(&s));
    // A node that moved is made known again.
    let known =
        |s: &Stage| s.asked.iter().filter(|op| matches!(op, NetOp::Know { peer, .. } if *peer == node(8))).count();
    s.zone_says(wire::Directory { nodes: vec![entry(1)] });
    s.zone_says(wire::Directory { nodes: vec![entry(2)] });
    s.step();
    assert_eq!(known(&s), 2);
}

#[test]
fn what_is_said_of_another_shard_or_an_earlier_attachment_changes_nothing() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    let sent = s.ios();
    configure(&mut s, base::Configuration { generation: Generation(3), ..config(0, 9, 2) });
    assert!(s.step().is_empty());
    s.refused(&sent[0], Why::WrongEpoch { config: config(5, 9, 2) });
    s.step();
    let again: Vec<Sent> = s.pass(ms(60)).into_iter().map(|(_, s)| s).filter(Sent::is_io).collect();
    assert_eq!(again.iter().map(|w| (w.to, w.epoch())).collect::<Vec<_>>(), [(node(1), 5)]);
}
