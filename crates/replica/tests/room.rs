//! Room for writes (rule 1): whoever lacks it for a moment makes the client wait, and only who goes on lacking it refuses.

mod world;

use base::Epoch;
use base::sometimes::Sometimes;
use std::time::Duration;
use wire::Refusal;
use world::World;

/// A member that lacked the room for a write as it confirmed the last one, and the write that waits for it.
fn short_of_room(member: u64) -> (World, u64) {
    let mut w = World::serving();
    // A backup's word of it comes with its confirmation; the primary knows its own.
    let few = if member == 1 { 8192 } else { 4096 };
    w.machines.get_mut(&member).unwrap().room = few;
    let first = w.write(1, 1, 5, 0x11);
    assert_eq!(w.done(first), Some(Epoch(1)));
    w.machines.get_mut(&member).unwrap().room = 4096;
    let second = w.write(1, 1, 6, 0x22);
    assert_eq!((w.done(second), w.refusal(second)), (None, Some(&Refusal::Busy)));
    (w, second)
}

#[test]
fn room_that_came_back_at_a_backup_is_told_though_nothing_is_written() {
    // Without a word of it the primary would refuse for ever: only a write would bring news.
    let (mut w, _) = short_of_room(3);
    w.machines.get_mut(&3).unwrap().room = 1 << 30;
    w.wait(Duration::from_millis(100));
    let again = w.write(1, 1, 6, 0x22);
    assert_eq!(w.done(again), Some(Epoch(1)));
    // With room for all there is nothing more to say.
    let said = w.sent("3>node-1 Replicated");
    w.wait(Duration::from_millis(100));
    assert_eq!(w.sent("3>node-1 Replicated"), said);
}

#[test]
fn room_at_the_primary_itself_is_seen_at_once() {
    let (mut w, _) = short_of_room(1);
    w.machines.get_mut(&1).unwrap().room = 1 << 30;
    let again = w.write(1, 1, 6, 0x22);
    assert_eq!(w.done(again), Some(Epoch(1)));
}

#[test]
fn a_store_that_stays_full_is_said_to_be() {
    for member in [1, 3] {
        let (mut w, _) = short_of_room(member);
        for _ in 0..49 {
            w.wait(Duration::from_millis(100));
            let again = w.write(1, 1, 6, 0x22);
            assert_eq!(w.refusal(again), Some(&Refusal::Busy));
        }
        w.wait(Duration::from_millis(100));
        let last = w.write(1, 1, 6, 0x22);
        assert_eq!(w.refusal(last), Some(&Refusal::Full { room: 4096 }));
        // Another shortage, later, is another matter.
        w.wait(Duration::from_secs(60));
        let later = w.write(1, 1, 6, 0x22);
        assert_eq!(w.refusal(later), Some(&Refusal::Busy));
    }
    assert!(Sometimes::WriteFindsRoomShort.count() > 0);
    assert!(Sometimes::WriteIsRefusedForRoom.count() > 0);
}
