//! What a volume may do at most: durable, shown, and told to the host that has the volume.

mod world;

use base::*;
use wire::*;
use world::{GIB, World};

const SLOW: Throttle = Throttle { iops: 500, bytes_per_s: 100 << 20 };

fn throttled(w: &mut World, volume: VolumeId, iops: Option<u64>, bytes_per_s: Option<u64>) -> Throttle {
    let answer = w.told(ThrottleVolume { volume, iops, bytes_per_s });
    let Message::VolumeReply(m) = answer else { panic!("{answer:?}") };
    m.volumes[0].throttle
}

#[test]
fn a_volume_is_made_with_its_throttle_and_attached_with_it() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let create = CreateVolume { request: RequestId(7), size: GIB, copies: 3, throttle: SLOW };
    let answer = w.told(create.clone());
    let Message::VolumeReply(m) = &answer else { panic!("{answer:?}") };
    let volume = m.volumes[0].info.volume;
    assert_eq!(m.volumes[0].throttle, SLOW);
    w.attach(volume, host);
    assert_eq!(w.hosts[&host].throttles[&volume], SLOW);
    let other = w.told(CreateVolume { throttle: Throttle::default(), ..create });
    assert!(World::refusal(&other).1.contains("500 IOPS"), "the same request with another throttle is another volume");
}

#[test]
fn a_change_reaches_the_host_at_once_and_outlives_the_authority() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    w.attach(volume, host);
    let before = w.first(volume);
    assert_eq!(throttled(&mut w, volume, Some(500), None), Throttle { iops: 500, bytes_per_s: 0 });
    assert_eq!(throttled(&mut w, volume, None, Some(100 << 20)), SLOW, "what is not named stays");
    assert_eq!(w.hosts[&host].throttles[&volume], SLOW);
    assert_eq!(w.first(volume), before, "no generation and no epoch changes for it");
    w.hosts.get_mut(&host).unwrap().throttles.clear();
    w.restart_zone();
    assert_eq!((w.state(volume).throttle, w.hosts[&host].throttles[&volume]), (SLOW, SLOW));
    assert_eq!(throttled(&mut w, volume, Some(0), Some(0)), Throttle::default());
    assert_eq!(w.hosts[&host].throttles[&volume], Throttle::default());
}

#[test]
fn nobody_is_told_of_a_throttle_that_is_not_durable() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    w.attach(volume, host);
    w.meta.stopped = true;
    let operator = w.ask(ThrottleVolume { volume, iops: Some(1), bytes_per_s: None });
    assert_eq!(w.state(volume).throttle, Throttle::default());
    w.connect_host(host);
    w.run();
    assert_eq!(w.hosts[&host].throttles[&volume], Throttle::default(), "greeted meanwhile");
    assert_eq!(w.answer(operator), None);
    w.meta.stopped = false;
    w.run();
    assert_eq!((w.state(volume).throttle.iops, w.hosts[&host].throttles[&volume].iops), (1, 1));
    assert!(w.answer(operator).is_some());
}

#[test]
fn a_throttle_that_cannot_be_is_refused_and_so_is_one_of_no_volume() {
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    let writes = w.meta.writes;
    let least = ThrottleVolume { volume, iops: None, bytes_per_s: Some(4095) };
    let (code, text) = World::refusal(&w.told(least));
    assert!(code == ErrorCode::Invalid && text.contains("at least 4KiB"), "{text}");
    let throttle = Throttle { iops: 0, bytes_per_s: 1 };
    let create = CreateVolume { request: RequestId(7), size: GIB, copies: 3, throttle };
    assert_eq!(World::refusal(&w.told(create)).0, ErrorCode::Invalid);
    let nobodys = ThrottleVolume { volume: VolumeId(9), iops: Some(1), bytes_per_s: None };
    assert_eq!(World::refusal(&w.told(nobodys)).0, ErrorCode::NotFound);
    assert_eq!(throttled(&mut w, volume, Some(0), None), Throttle::default());
    assert_eq!(w.meta.writes, writes, "nothing changed, nothing was written");
    w.told(DeleteVolume { volume });
    let gone = ThrottleVolume { volume, iops: Some(1), bytes_per_s: None };
    assert_eq!(World::refusal(&w.told(gone)).0, ErrorCode::NotFound);
}

#[test]
fn what_the_host_says_of_waiting_io_is_shown_while_it_has_the_volume() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let (volume, other) = (w.volume(1, 3), w.volume(1, 3));
    w.attach(volume, host);
    assert_eq!(w.state(volume).throttled, None);
    let waits = |volume| ThrottledVolume { volume, waiting: 3, waiting_ms: 40, delayed: 17 };
    let report = HostReport { stuck: vec![], throttled: vec![waits(volume), waits(other)] };
    w.say(base::io::net::Peer::Host(host), report);
    w.run();
    assert_eq!(w.state(volume).throttled, Some(waits(volume)));
    assert_eq!(w.state(other).throttled, None, "a volume that the host has not open");
    w.told(DetachVolume { volume });
    w.attach(volume, host);
    assert_eq!(w.state(volume).throttled, None, "said of the generation before");
}
