//! A watched peer to whom anything happens in any order: shared by the seeded run of the tests and by fuzz/fuzz_targets/keepalive.rs.

use base::Time;
use base::io::net::Side;
use base::time::Duration;
use wire::keepalive::{Act, Keepalive};

/// Each byte is something that happens: the low bits say what, the high ones how long after the last. How often the peer became silent.
pub fn beat_anything(bytes: &[u8]) -> u32 {
    let (mut now, mut silences) = (Time(1), 0);
    let (mut one, mut heard) = (Keepalive::new(now), false);
    for byte in bytes {
        now += Duration::from_millis(u64::from(byte >> 3) * u64::from(byte >> 3));
        match byte % 8 {
            0 => one.on_sent(now),
            1 => one.on_bytes(Side::Opened, now),
            2 => one.on_bytes(Side::Accepted, now),
            3 => one.on_up(now),
            4 => one.on_other_pings(now),
            _ => {}
        }
        heard |= matches!(byte % 8, 1..=3);
        let mut acts = 0;
        while let Some(act) = one.due(now) {
            acts += 1;
            assert!(acts <= 2, "at one moment a peer is pinged once and falls silent once");
            match act {
                Act::Ping(at) => assert_eq!(at, now),
                Act::Silent(last) => {
                    assert!(last <= now && one.is_silent());
                    assert!(heard || silences == 0, "a silence that lasts is said once");
                    (silences, heard) = (silences + 1, false);
                }
            }
        }
        assert!(one.deadline() > now, "what is due now was done: {one:?} at {now:?}");
        assert!(one.patience() > Duration::ZERO);
    }
    silences
}
