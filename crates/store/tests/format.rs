//! The format that was released: an image as it was once written, byte for byte. A later version must read it; a change that would write
//! other bytes needs a new format version.

mod bench;

use base::io::disk::Op;
use base::log::{ReadFault, Record, Recovered};
use base::{Payload, Sequence};
use bench::disk::Disk;
use bench::model::pattern;
use bench::{Bench, UUID, blocks, copy, data, freeze, mark, register, shard, stamp, thaw, trim};
use std::fmt::Write;
use store::{Phase, Policy};

const IMAGE: &str = include_str!("format_1.txt");

/// A small life: two runs, every kind of entry, two shards, a header that is longer than a block, two checkpoints.
fn life() -> Bench {
    let (a, b, c) = (shard(0x0123_4567_89ab_cdef), shard(2), shard(4));
    let policy = Policy { preallocated: true, checkpoint_every_segments: 1, ..Policy::default() };
    let mut bench = Bench::ready_with(10, policy);
    bench.append(a, register(a, 1));
    bench.append(b, register(b, 2));
    bench.append(a, data(1, 0, [1, 2, 3]));
    bench.settle();
    bench.commit(a, 1);
    bench.append(a, trim(2, 1, 1));
    bench.append(b, copy(7, [4]));
    bench.append(b, Record::Erase { block: 9, count: 2 });
    bench.append(a, data(3, 5, [5]));
    bench.append(a, Record::Cut { above: Sequence(2) });
    bench.append(a, mark(1));
    bench.append(a, Record::Unmark);
    // A mark with blocks of two chunks. A frozen point that keeps a block and the lack of another, and in the window one that is frozen and one that is thawed.
    bench.append(c, register(c, 1));
    bench.append(c, mark(0));
    for record in [data(1, 0, [7, 8]), freeze(2, 1), data(3, 0, [9]), data(4, 130, [10]), freeze(5, 2), thaw(6, 1)] {
        bench.append(c, record);
    }
    bench.commit(c, 4);
    bench.settle();
    // Until a checkpoint is due.
    for n in 2..12 {
        bench.append(b, register(b, n));
        bench.settle();
    }
    assert!(bench.store.activity().checkpoint_bytes > 0);
    let mut bench = bench.reopened();
    bench.append(b, Record::Restart { committed: Sequence(40), keeps_marks: false });
    (41..170).for_each(|n| {
        bench.append(b, trim(n, 100, 1));
    });
    bench.append(b, Record::Data { stamp: stamp(7, 170), block: 8, data: blocks([6]) });
    bench.append(shard(3), Record::Drop);
    bench.settle();
    // Block 1 of the first shard was found rotten and came from a peer.
    let place = (bench.find_on_media(&pattern(2)).unwrap() / 4096) as u32;
    bench.append(a, Record::Mend { block: 1, place, data: blocks([2]) });
    bench.settle();
    bench
}

/// Blocks that are not zeroes, as lines of a place and runs of bytes; what repeats the line above is a star.
fn dump(disk: &Disk) -> String {
    let mut text = String::new();
    for (place, block) in disk.media.iter().filter(|(_, block)| block.iter().any(|&byte| byte != 0)) {
        writeln!(text, "block {place}").unwrap();
        let mut last: &[u8] = &[];
        for (i, line) in block.chunks(32).enumerate() {
            if line == last {
                if !text.ends_with("*\n") {
                    text.push_str("*\n");
                }
                continue;
            }
            let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:03x} {hex}", i * 32).unwrap();
            last = line;
        }
    }
    text
}

fn load(text: &str) -> Disk {
    let mut disk = Disk::default();
    let mut block: Option<(u32, Vec<u8>)> = None;
    let mut last = vec![0; 32];
    let fill = |bytes: &mut Vec<u8>, until: usize, line: &[u8]| {
        while bytes.len() < until {
            bytes.extend_from_slice(line);
        }
    };
    let mut finish = |block: Option<(u32, Vec<u8>)>, last: &[u8]| {
        if let Some((place, mut bytes)) = block {
            fill(&mut bytes, 4096, last);
            disk.media.insert(place, bytes);
        }
    };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(place) = line.strip_prefix("block ") {
            finish(block.take(), &last);
            block = Some((place.parse().unwrap(), vec![]));
        } else if line != "*" {
            let (offset, hex) = line.split_once(' ').unwrap();
            let bytes = &mut block.as_mut().unwrap().1;
            fill(bytes, usize::from_str_radix(offset, 16).unwrap(), &last);
            last = (0..32).map(|i| u8::from_str_radix(&hex[i * 2..][..2], 16).unwrap()).collect();
            bytes.extend_from_slice(&last);
        }
    }
    finish(block, &last);
    disk
}

#[test]
fn the_released_format_is_written_to_the_byte() {
    let text = dump(&life().disk);
    if text != IMAGE {
        let at = text.lines().zip(IMAGE.lines()).find(|(new, old)| new != old);
        panic!("the bytes on the disk have changed, first here: {at:?}\nthe whole of it:\n{text}");
    }
}

#[test]
fn the_released_format_is_read() {
    let mut bench = life();
    let mut disk = load(IMAGE);
    disk.media.retain(|_, block| block.iter().any(|&byte| byte != 0));
    let mut old = Bench::on(disk, bench.geometry, bench.policy);
    old.settle();
    assert_eq!((old.store.phase(), old.store.uuid()), (&Phase::Ready, UUID));
    let (a, b, c) = (shard(0x0123_4567_89ab_cdef), shard(2), shard(4));
    let summary = |r: &Recovered| (r.shard, r.register.promised.0, r.committed.0, r.end);
    let found = old.recovered();
    let recovered: Vec<_> = found.iter().map(summary).collect();
    assert_eq!(recovered, [(b, 11, 40, stamp(7, 170)), (c, 1, 4, stamp(1, 6)), (a, 1, 1, stamp(1, 2))]);
    assert_eq!(found.iter().map(|r| r.marks.len()).collect::<Vec<_>>(), [0, 1, 0]);
    for bench in [&mut bench, &mut old] {
        assert_eq!(bench.tags(a, 0, 7), [1, 2, 3, 0, 0, 0, 0]);
        assert_eq!(bench.tags(b, 6, 4), [0, 4, 0, 0]);
        assert_eq!(bench.window(b, 0).unwrap().len(), 130);
        assert_eq!((bench.tags(c, 0, 2), bench.tags_at(c, 1, 0, 2)), (vec![9, 8], vec![7, 8]));
        assert_eq!((bench.tags(c, 130, 1), bench.tags_at(c, 1, 130, 1)), (vec![10], vec![0]));
        assert_eq!(bench.changed_since(c, Sequence(0)), [0, 1, 130].into());
        bench.commit(c, 6);
        assert_eq!(bench.tags_at(c, 2, 0, 2), [9, 8]);
        assert_eq!(bench.read_point(c, 1, 0, 1), None);
        bench.commit(a, 2);
        bench.commit(b, 170);
        assert_eq!(bench.tags(a, 0, 4), [1, 0, 3, 0]);
        assert_eq!(bench.tags(b, 6, 4), [0, 4, 6, 0]);
    }
}

#[test]
fn any_byte_of_the_image_changed_is_noticed_or_does_not_matter() {
    let disk = load(IMAGE);
    let bench = life();
    let places: Vec<u32> = disk.media.keys().copied().collect();
    for place in places {
        for byte in (0..4096u64).step_by(61) {
            let mut rotten = disk.clone();
            rotten.rot(u64::from(place) * 4096 + byte, 5);
            let mut opened = Bench::on(rotten, bench.geometry, bench.policy);
            opened.settle();
            // Refused by name, or opened; then each block is as it was, missing with its batch at the end of the log, or corrupt, or its shard is suspect.
            if *opened.store.phase() != Phase::Ready {
                assert!(matches!(opened.store.phase(), Phase::Refused(_)), "{place} {byte}");
                continue;
            }
            let a = shard(0x0123_4567_89ab_cdef);
            let relied_upon = opened.recovered().iter().any(|r| r.shard == a && !r.suspect);
            assert!(relied_upon || opened.store.damage().is_some(), "{place} {byte}");
            if !relied_upon {
                continue;
            }
            match opened.read(a, 0, 3) {
                Ok(bytes) => assert!(Payload::from(bytes) == blocks([1, 2, 3]), "{place} {byte}"),
                Err(ReadFault { rotten }) => assert!(rotten.iter().all(|rot| rot.block < 3)),
            }
            assert!(!opened.disk.flying.iter().any(|op| matches!(op, Op::Write { .. })));
        }
    }
}
