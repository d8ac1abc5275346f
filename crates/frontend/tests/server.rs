//! Many NBD connections at one host: tags, turns, pauses and endings.

mod stage;

use base::{Payload, VolumeId};
use frontend::nbd::{Act, Server};
use host::{Op, Refusal};
use stage::*;
use std::collections::BTreeMap;

struct Hall {
    server: Server,
    host: FakeHost,
}

impl Hall {
    fn new() -> Self {
        Self { server: Server::new(), host: FakeHost::new() }
    }

    /// Opens a stream and brings it into transmission on a volume.
    fn join(&mut self, stream: u64, name: &str) {
        self.server.on_opened(stream);
        self.hear(stream, &[&FIXED.to_be_bytes()[..], &go(name)].concat());
        assert_eq!(self.pump().len(), 1);
    }

    fn hear(&mut self, stream: u64, bytes: &[u8]) {
        self.server.on_bytes(stream, Payload::from(bytes.to_vec()));
    }

    fn pump(&mut self) -> Vec<Act> {
        let mut acts = vec![];
        self.server.pump(&mut self.host, &mut acts);
        // Whoever is answered reads.
        for act in &acts {
            if let Act::Send { stream, parts } = act {
                self.server.on_sent(*stream, base::payload::len(parts) as u64);
            }
        }
        acts
    }

    /// A whole turn: what came goes to the host, the host does all, its answers go out.
    fn turn(&mut self) -> Vec<Act> {
        let mut acts = self.pump();
        self.host.run();
        acts.extend(self.pump());
        acts
    }
}

/// What was sent, by stream.
fn sent(acts: Vec<Act>) -> BTreeMap<u64, Vec<u8>> {
    let mut sent: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for act in acts {
        if let Act::Send { stream, parts } = act {
            sent.entry(stream).or_default().extend(flat(parts));
        }
    }
    sent
}

#[test]
fn a_connection_is_greeted_and_each_gets_its_own_answers() {
    let mut hall = Hall::new();
    hall.server.on_opened(1);
    let greeting = sent(hall.pump());
    assert_eq!(greeting[&1], [&b"NBDMAGICIHAVEOPT"[..], &[0, 3]].concat());
    hall.join(2, NAME);
    hall.join(3, NAME);
    // The same cookie on two connections is two requests.
    hall.hear(2, &write(7, 0, &[2; 512]));
    hall.hear(3, &write(7, 512, &[3; 512]));
    let answers = sent(hall.turn());
    assert_eq!(answers, BTreeMap::from([(2, simple(OK, 7)), (3, simple(OK, 7))]));
    assert_eq!((hall.host.volumes[&VOLUME].1[0], hall.host.volumes[&VOLUME].1[512]), (2, 3));
}

#[test]
fn all_answers_of_a_turn_are_one_send_in_as_few_parts_as_can_be() {
    let mut hall = Hall::new();
    hall.join(1, NAME);
    let many: Vec<u8> = (0..50).flat_map(|i| write(i, i * 512, &[1; 512])).collect();
    hall.hear(1, &many);
    let acts = hall.turn();
    let [Act::Send { stream: 1, parts }] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!((parts.len(), parts[0].len()), (1, 50 * 16));
}

#[test]
fn a_busy_volume_pauses_its_own_clients_only_and_serves_them_in_turn() {
    let mut hall = Hall::new();
    (1..=2).for_each(|stream| hall.join(stream, NAME));
    hall.host.room = 3;
    let many: Vec<u8> = (0..6).flat_map(|i| request(0, 3, i, 0, 0)).collect();
    hall.hear(1, &many);
    hall.hear(2, &many);
    let acts = hall.pump();
    assert_eq!(acts, [Act::Pause { stream: 1 }, Act::Pause { stream: 2 }]);
    let mut done: BTreeMap<u64, usize> = BTreeMap::new();
    let (mut resumed, mut order) = (vec![], vec![]);
    for _ in 0..4 {
        hall.host.run();
        let acts = hall.pump();
        resumed.extend(acts.iter().filter_map(|a| if let Act::Resume { stream } = a { Some(*stream) } else { None }));
        for (stream, bytes) in sent(acts) {
            order.push(stream);
            *done.entry(stream).or_default() += bytes.len() / 16;
        }
    }
    assert_eq!(done, BTreeMap::from([(1, 6), (2, 6)]));
    assert_eq!(order, [1, 2, 1, 2], "neither waits for the other to end");
    assert_eq!(resumed.len(), 2);
}

#[test]
fn the_rest_of_a_write_is_not_asked_for_while_a_part_of_it_waits_to_be_looked_at() {
    let mut hall = Hall { server: Server::gathered(), host: FakeHost::new() };
    hall.join(1, NAME);
    let data: Vec<u8> = (0..60_000u32).map(|n| (n / 9) as u8).collect();
    let all = [write(1, 0, &[7; 4096]), write(2, 4096, &data)].concat();
    let (first, rest) = all.split_at(4096 + 28 + 28 + 1000);
    let (second, third) = rest.split_at(30_000);
    // The host takes nothing, so the first write waits, and what came behind it too.
    hall.host.room = 0;
    hall.hear(1, first);
    hall.hear(1, second);
    let acts = hall.pump();
    assert_eq!(acts, [Act::Pause { stream: 1 }]);
    hall.host.room = 100;
    hall.host.run();
    hall.hear(1, third);
    let answers = sent(hall.turn());
    assert_eq!(answers[&1], [simple(0, 1), simple(0, 2)].concat());
    hall.hear(1, &request(0, 0, 3, 4096, 60_000));
    let answers = sent(hall.turn());
    assert!(answers[&1][16..] == data);
    // With nothing behind it, it is.
    hall.hear(1, &write(4, 0, &data)[..5000]);
    let acts = hall.pump();
    assert!(matches!(&acts[..], [Act::Gather { stream: 1, bytes: 60_000, .. }]), "{acts:?}");
}

#[test]
fn a_session_with_as_much_in_flight_as_it_may_is_paused_and_resumed() {
    let mut hall = Hall::new();
    hall.join(1, NAME);
    let many: Vec<u8> = (0..300).flat_map(|i| request(0, 3, i, 0, 0)).collect();
    hall.hear(1, &many);
    assert_eq!(hall.pump(), [Act::Pause { stream: 1 }]);
    assert_eq!(hall.host.queue.len(), 256);
    hall.host.run();
    let acts = hall.pump();
    assert!(matches!(&acts[..], [Act::Send { .. }, Act::Resume { stream: 1 }]), "{acts:?}");
    assert_eq!(hall.host.queue.len(), 44);
}

#[test]
fn who_leaves_is_closed_after_the_last_answer() {
    let mut hall = Hall::new();
    hall.join(1, NAME);
    hall.hear(1, &[write(1, 0, &[1]), request(0, 2, 2, 0, 0)].concat());
    let acts = hall.turn();
    let parts = vec![Payload::from(simple(OK, 1))];
    assert_eq!(acts[acts.len() - 2..], [Act::Send { stream: 1, parts }, Act::Close { stream: 1 }]);
    assert_eq!(hall.server.sessions(), 0);
    hall.hear(1, &[1, 2, 3]);
    assert!(hall.turn().is_empty(), "what comes after the close means nothing");
}

#[test]
fn a_connection_that_breaks_takes_nothing_with_it() {
    let mut hall = Hall::new();
    hall.join(1, NAME);
    hall.host.room = 1;
    hall.hear(1, &[write(1, 0, &[1]), write(2, 1, &[2])].concat());
    hall.pump();
    hall.server.on_closed(1);
    assert!(hall.turn().is_empty());
    assert_eq!(hall.host.volumes[&VOLUME].1[..2], [1, 0], "what the host had is done, what it had not is forgotten");
    hall.join(2, NAME);
    hall.hear(2, &request(0, 3, 1, 0, 0));
    assert_eq!(sent(hall.turn())[&2], simple(OK, 1));
}

#[test]
fn a_detached_volume_ends_its_sessions_with_errors_and_spares_the_others() {
    let mut hall = Hall::new();
    hall.host.attach(VolumeId(5), 4096, 1);
    (1..=2).for_each(|stream| hall.join(stream, NAME));
    hall.join(3, "vol-00000000000000005");
    hall.host.room = 1;
    hall.hear(1, &[request(0, 3, 1, 0, 0), request(0, 3, 2, 0, 0)].concat());
    hall.pump();
    hall.host.detach(VOLUME);
    let acts = hall.pump();
    // What waited for the host is answered at once, what the host has when the host says so; the idle one is closed.
    assert!(acts.contains(&Act::Close { stream: 2 }) && !acts.contains(&Act::Close { stream: 1 }), "{acts:?}");
    assert_eq!(sent(acts)[&1], simple(ESHUTDOWN, 2));
    hall.host.refuse = Some(Refusal::Detached);
    hall.host.run();
    let acts = hall.pump();
    assert!(acts.contains(&Act::Close { stream: 1 }));
    assert_eq!(sent(acts)[&1], simple(ESHUTDOWN, 1));
    assert_eq!(hall.server.sessions(), 1);
}

#[test]
fn a_session_of_an_earlier_attachment_cannot_write_to_a_later_one() {
    let mut hall = Hall::new();
    hall.join(1, NAME);
    hall.host.attach(VOLUME, SIZE, 2);
    hall.hear(1, &write(1, 0, &[1; 512]));
    assert_eq!(hall.turn(), [Act::Close { stream: 1 }]);
    assert_eq!(hall.host.volumes[&VOLUME].1[0], 0);
}

#[test]
fn a_session_outlives_the_growth_of_its_volume_at_the_size_it_was_told() {
    let mut hall = Hall::new();
    hall.join(1, NAME);
    // The protocol has no word for another size: who wants the new part connects anew.
    hall.host.attach(VOLUME, 2 * SIZE, 1);
    hall.hear(1, &write(1, SIZE - 512, &[1; 512]));
    hall.hear(1, &write(2, SIZE, &[2; 512]));
    // What it may not is answered first: the host is not asked.
    let answers = [simple(ENOSPC, 2), simple(OK, 1)].concat();
    assert_eq!(sent(hall.turn()), BTreeMap::from([(1, answers)]));
    assert_eq!(hall.host.volumes[&VOLUME].1[SIZE as usize - 1..=SIZE as usize], [1, 0]);
    hall.join(2, NAME);
    hall.hear(2, &write(3, SIZE, &[3; 512]));
    assert_eq!(sent(hall.turn()), BTreeMap::from([(2, simple(OK, 3))]));
    assert_eq!(hall.host.volumes[&VOLUME].1[SIZE as usize], 3);
}

#[test]
fn connections_are_bounded() {
    let mut hall = Hall::new();
    (0..1025).for_each(|stream| hall.server.on_opened(stream));
    let acts = hall.pump();
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::Send { .. })).count(), 1024);
    assert_eq!(acts.last(), Some(&Act::Close { stream: 1024 }));
    assert_eq!(hall.server.sessions(), 1024);
}

#[test]
fn who_talks_through_a_pause_for_too_long_is_cut_off() {
    let mut hall = Hall::new();
    hall.join(1, NAME);
    hall.host.room = 0;
    hall.hear(1, &request(0, 3, 1, 0, 0));
    hall.pump();
    let closed = (0..70).position(|_| {
        hall.hear(1, &vec![0; 1 << 20]);
        hall.pump().contains(&Act::Close { stream: 1 })
    });
    assert_eq!(closed, Some(64));
}

#[test]
fn requests_reach_the_host_in_the_order_they_came() {
    let mut hall = Hall::new();
    hall.join(1, NAME);
    hall.host.room = 5;
    let many: Vec<u8> = (0..40u64).flat_map(|i| write(i, i, &[i as u8])).collect();
    many.chunks(17).for_each(|bytes| hall.hear(1, bytes));
    let mut offsets = vec![];
    for _ in 0..8 {
        hall.pump();
        for request in &hall.host.queue {
            let Op::Write { offset, .. } = request.op else { panic!() };
            offsets.push(offset);
        }
        hall.host.run();
    }
    assert_eq!(offsets, (0..40).collect::<Vec<_>>());
}
