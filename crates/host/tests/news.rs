//! What a host says of itself, for logs: once for each thing that happens.

mod stage;

use base::io::net::{Down, Peer};
use base::time::Duration;
use base::{Generation, NodeId};
use host::{Closed, News};
use stage::*;
use wire::{Detached, Throttle, Throttled};

fn told(s: &mut Stage) -> Vec<String> {
    s.host.news().map(|news| news.to_string()).collect()
}

#[test]
fn a_host_that_waits_for_the_authority_says_so_once_and_offers_nothing() {
    let mut s = Stage::unheard();
    assert!(!s.host.is_informed());
    for _ in 0..3 {
        s.down(Peer::Zone, Down::Refused);
        s.step();
    }
    let lines = told(&mut s);
    assert!(lines.len() == 1 && lines[0].contains("waits for the zone's authority (Refused)"), "{lines:?}");
    s.meet();
    assert!(s.host.is_informed());
    assert_eq!(told(&mut s), ["the zone's authority is in touch"]);
    s.down(Peer::Zone, Down::Reset);
    s.step();
    let lines = told(&mut s);
    assert!(lines.len() == 1 && lines[0].contains("what is attached goes on"), "{lines:?}");
    assert!(s.host.is_informed(), "what it said is still true");
}

#[test]
fn a_volume_that_is_opened_throttled_and_closed_is_told_of() {
    let mut s = Stage::attached();
    let (volume, generation) = (VOLUME, Generation(4));
    assert_eq!(s.host.news().last(), Some(News::Opened { volume, generation }));
    let throttle = Throttle { iops: 5, bytes_per_s: 0 };
    for _ in 0..2 {
        s.zone_says(Throttled { volume, throttle });
        s.step();
    }
    assert_eq!(s.host.news().collect::<Vec<_>>(), [News::Throttled { volume, throttle }]);
    s.zone_says(Detached { volume, generation });
    s.step();
    assert_eq!(s.host.news().collect::<Vec<_>>(), [News::Closed { volume, generation, why: Closed::Detached }]);
}

#[test]
fn a_volume_that_a_node_refuses_is_closed_by_that_name() {
    let mut s = Stage::attached();
    s.submit(write(0, 1, 1));
    let sent = s.ios();
    told(&mut s);
    s.refused(&sent[0], wire::Refusal::Fenced);
    s.step();
    let lines = told(&mut s);
    assert!(lines.len() == 1 && lines[0].contains("a later generation may write"), "{lines:?}");
}

#[test]
fn io_that_waits_is_told_of_with_its_shard_and_its_primary_and_so_is_its_end() {
    let mut s = Stage::new();
    s.attach(20, 8, vec![config(0, 5, 1), config(1, 6, 2), config(2, 7, 3)]);
    (1..=3).for_each(|n| s.up(Peer::Node(NodeId(n))));
    s.step();
    told(&mut s);
    // Of three shards one is slow: only that is told of, and the others go on.
    let tags = [s.submit(write(1, 1, 1)), s.submit(write(9, 1, 1)), s.submit(write(17, 1, 1))];
    let sent = s.ios();
    [&sent[0], &sent[2]].into_iter().for_each(|io| s.done(io, vec![]));
    s.step();
    assert_eq!(s.replies(), [ok(tags[0]), ok(tags[2])]);
    s.pass(Duration::from_millis(2_500));
    let lines = told(&mut s);
    let wanted = "I/O of vol-00000000000000007/1 waits for node-2, its primary in epoch 6; the authority is told";
    assert_eq!(lines, [wanted]);
    assert_eq!(s.host.stuck().map(|stuck| stuck.shard).collect::<Vec<_>>(), [shard(1)]);
    s.done(&sent[1], vec![]);
    s.step();
    assert_eq!(s.reply(), ok(tags[1]));
    assert_eq!(told(&mut s), ["I/O of vol-00000000000000007/1 goes on after 2500 ms"]);
}

#[test]
fn news_that_nobody_reads_do_not_pile_up() {
    let mut s = Stage::attached();
    for iops in 1..5_000 {
        s.zone_says(Throttled { volume: VOLUME, throttle: Throttle { iops, bytes_per_s: 0 } });
        s.step();
    }
    assert_eq!(s.host.news().count(), 1024);
}

#[test]
fn the_authority_is_told_what_is_used_when_it_changes_and_when_it_is_met_again() {
    let mut s = Stage::attached();
    let told = |s: &mut Stage| -> Vec<Vec<base::VolumeId>> {
        let used = |sent: Sent| if let wire::Message::Used(m) = sent.message { Some(m.volumes) } else { None };
        s.step().into_iter().filter_map(used).collect()
    };
    assert_eq!(told(&mut s), Vec::<Vec<_>>::new());
    s.host.uses([].into());
    assert_eq!(told(&mut s), [[]; 1], "that nothing is used is said too");
    s.host.uses([VOLUME].into());
    assert_eq!(told(&mut s), [[VOLUME]]);
    s.host.uses([VOLUME].into());
    assert_eq!(told(&mut s), Vec::<Vec<_>>::new(), "nothing has changed");
    s.down(Peer::Zone, Down::Reset);
    s.step();
    s.host.uses([].into());
    s.host.uses([VOLUME].into());
    assert_eq!(told(&mut s), Vec::<Vec<_>>::new(), "nobody hears it");
    s.up(Peer::Zone);
    assert_eq!(told(&mut s), [[VOLUME]]);
    s.host.uses([].into());
    assert_eq!(told(&mut s), [[]; 1]);
}
