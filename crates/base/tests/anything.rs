//! A seeded run of what fuzz/fuzz_targets/words.rs tries without end: sound texts, changed, and plain noise.

mod words;

use base::Rng;
use words::read_anything;

const SOUND: [&str; 10] = [
    "8GiB",
    "512KiB",
    "4096",
    "16777215TiB",
    "node-1",
    "i-0123456789abcdef0",
    "vol-00123456789abcdef",
    "vol-00123456789abcdef/7",
    "point-18446744073709551615",
    "01234567-89ab-cdef-0123-456789abcdef",
];

#[test]
fn whatever_is_written_is_understood_as_it_is_written_or_refused() {
    let (mut rng, mut understood, mut refused) = (Rng::new(9), 0, 0);
    for text in SOUND {
        assert!(read_anything(text.as_bytes()) > 0, "{text}");
        for _ in 0..2_000 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(4) {
                    0 => drop(bytes.remove(at)),
                    1 => bytes.insert(at, *rng.pick(b"0919afxGKi-/+ .").expect("not empty")),
                    2 => bytes[at] = rng.u64() as u8,
                    _ => bytes[at] = *rng.pick(b"0123456789abcdefTGMKiB-/+").expect("not empty"),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            if read_anything(&bytes) > 0 { understood += 1 } else { refused += 1 }
        }
    }
    assert!(understood > 1_000 && refused > 1_000, "{understood} understood, {refused} refused");
}
