//! A seeded run of what fuzz/fuzz_targets/keepalive.rs tries without end.

mod beat;

use base::Rng;
use beat::beat_anything;

#[test]
fn whatever_happens_to_a_watched_peer_it_is_pinged_and_falls_silent_once() {
    let (mut rng, mut silences) = (Rng::new(5), 0);
    for _ in 0..5_000 {
        let bytes: Vec<u8> = (0..rng.below(60)).map(|_| rng.u64() as u8).collect();
        silences += beat_anything(&bytes);
    }
    assert!(silences > 1000, "{silences} silences");
}
