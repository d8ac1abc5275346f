//! A seeded run of what fuzz/fuzz_targets/image.rs tries without end: disks of which something has become something else.

mod bench;
mod image;

use base::Rng;
use image::open_anything;

#[test]
fn whatever_has_become_of_a_disk_it_is_opened_or_refused_and_can_be_looked_at() {
    assert!(open_anything(&[]), "it is sound to begin with");
    let (mut rng, mut opened) = (Rng::new(3), 0);
    let rounds = 1500;
    for round in 0..rounds {
        let changes: Vec<u8> = (0..5 * rng.within(1, 4)).map(|_| rng.u64() as u8).collect();
        let outcome = std::panic::catch_unwind(|| open_anything(&changes));
        opened += u32::from(outcome.unwrap_or_else(|_| panic!("round {round}: it broke on the changes {changes:?}")));
    }
    assert!((1..rounds).contains(&opened), "{opened} of {rounds} disks opened");
}
