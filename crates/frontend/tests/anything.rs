//! A seeded run of what fuzz/fuzz_targets/session.rs tries without end: bytes that sound clients send, changed, cut and mixed, and plain noise.

mod stage;

use base::Rng;
use stage::*;

/// Some sound words of a client, in an order that may or may not be sound.
fn words(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend([0, 0, 0, rng.below(4) as u8]);
    for _ in 0..rng.below(12) {
        bytes.extend(match rng.below(10) {
            0 => option(8, &[]),
            1 | 2 => option(11, &[]),
            3 | 4 => option(10, &contexts_data(NAME, &["base:allocation"])),
            5 => option(9, &contexts_data(NAME, &["base:", "x:"])),
            6 => option(3, &[]),
            7 => option(6, &info_data(NAME, &[0, 1, 2, 3])),
            8 => option(rng.below(14) as u32, &vec![0; rng.below(100) as usize]),
            _ => option(5, &[]),
        });
    }
    bytes.extend(if rng.chance(9, 10) { go(NAME) } else { option(1, NAME.as_bytes()) });
    let is_extended = rng.chance(1, 2);
    for cookie in 0..rng.below(30) {
        let most = if rng.chance(1, 8) { 60_000 } else { 9_000 };
        let (offset, len) = (rng.below(SIZE + 10), rng.below(most));
        let command = *rng.pick(&[0, 0, 1, 1, 1, 3, 4, 5, 6, 7, 7, 9]).unwrap();
        let flags = if rng.chance(1, 4) { rng.below(64) as u16 } else { 0 };
        let payload = if command == 1 || (is_extended && flags & 32 != 0) { len } else { 0 };
        bytes.extend(match is_extended {
            true if command == 1 => extended(flags | 32, command, cookie, offset, len),
            true => extended(flags, command, cookie, offset, len),
            false => request(flags, command, cookie, offset, len as u32),
        });
        bytes.extend((0..payload).map(|i| i as u8));
    }
    bytes
}

#[test]
fn whatever_is_said_nothing_panics_and_nothing_is_hoarded() {
    let mut opened = 0;
    for seed in 0..1_500 {
        let mut rng = Rng::new(seed);
        // How it is cut stands first.
        let mut bytes = vec![rng.u64() as u8, if rng.chance(1, 2) { 0x80 } else { 0 }];
        bytes.extend(words(&mut rng));
        if rng.chance(1, 2) {
            for _ in 0..1 + rng.below(12) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.u64() as u8;
            }
        }
        if rng.chance(1, 4) {
            bytes.truncate(1 + rng.below(bytes.len() as u64) as usize);
            bytes.extend((0..rng.below(2_000)).map(|_| rng.u64() as u8));
        }
        opened += u64::from(hear_anything(&bytes));
    }
    assert!(opened > 400, "the run was too tame: {opened} sessions came to requests");
}
