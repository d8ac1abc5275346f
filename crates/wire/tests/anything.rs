//! A seeded run of what fuzz/fuzz_targets/messages.rs tries without end: messages of every kind, changed and cut, and plain noise.

mod any;

use any::read_anything;
use base::Rng;
use std::collections::BTreeSet;

#[test]
fn whatever_comes_over_a_connection_is_read_or_refused() {
    let (mut rng, mut read) = (Rng::new(7), BTreeSet::new());
    for (kind, name) in wire::KINDS {
        // Zeroes are sound fields of nearly every type, in the right number.
        for len in 0..160 {
            let zeroes: Vec<u8> = kind.to_le_bytes().into_iter().chain(std::iter::repeat_n(0, len)).collect();
            if !read_anything(&zeroes) {
                continue;
            }
            read.insert(*name);
            for _ in 0..50 {
                let mut bytes = zeroes.clone();
                for _ in 0..=rng.below(4) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = *rng.pick(&[1, 2, 3, 0x7f, 0x80, 0xff]).unwrap();
                }
                // What a list or a text that has become longer is filled with.
                bytes.extend((0..rng.below(3) * rng.below(120)).map(|_| rng.below(4) as u8));
                read_anything(&bytes);
            }
        }
        let noise: Vec<u8> = kind.to_le_bytes().into_iter().chain((0..200).map(|_| rng.u64() as u8)).collect();
        (2..noise.len()).for_each(|len| _ = read_anything(&noise[..len]));
    }
    let all: BTreeSet<&str> = wire::KINDS.iter().map(|(_, name)| *name).collect();
    let never: Vec<_> = all.difference(&read).collect();
    assert!(never.len() * 4 < all.len(), "of zeroes alone these are never read: {never:?}");
}
