//! A seeded run of what fuzz/fuzz_targets/metadata.rs tries without end.

mod spoil;
mod world;

use base::Rng;
use spoil::{metadata, start_on};

#[test]
fn an_authority_starts_on_whatever_its_metadata_have_become_or_refuses_them() {
    let (sound, mut rng, mut works) = (metadata(), Rng::new(11), 0);
    assert!(start_on(sound.clone(), &[]));
    for round in 0..4_000 {
        let changes: Vec<u8> = (0..4 * (1 + rng.below(3))).map(|_| rng.u64() as u8).collect();
        let outcome = std::panic::catch_unwind(|| start_on(sound.clone(), &changes));
        works += u32::from(outcome.unwrap_or_else(|_| panic!("round {round}: it broke on the changes {changes:?}")));
    }
    assert!((1..3_900).contains(&works), "{works} of 4000 starts went on as if nothing were wrong");
}
