//! A seeded run of what fuzz/fuzz_targets/hello.rs tries without end: frames of a hello, changed, cut and mixed, and plain noise.

mod any;

use any::{greet_anything, sound};
use base::Rng;

#[test]
fn whatever_is_said_in_a_hello_nobody_without_the_key_is_let_in() {
    let (mut rng, sound, mut answered) = (Rng::new(4), sound(), 0);
    let rounds = 20_000;
    for _ in 0..rounds {
        let mut bytes = vec![rng.u64() as u8];
        bytes.extend(rng.pick(&sound).expect("not empty"));
        for _ in 0..rng.below(4) {
            let at = 1 + rng.below(bytes.len() as u64 - 1) as usize;
            match rng.below(4) {
                0 => bytes.truncate(at + 1),
                1 => bytes.extend((0..rng.below(90)).map(|_| rng.u64() as u8)),
                _ => bytes[at] = rng.u64() as u8,
            }
        }
        if rng.chance(1, 3) {
            bytes.extend(rng.pick(&sound).expect("not empty"));
        }
        answered += u32::from(greet_anything(&bytes));
    }
    assert!(answered > 100 && answered < rounds, "{answered} of {rounds} were answered");
}
