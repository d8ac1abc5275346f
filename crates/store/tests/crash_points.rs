//! Every sequence of up to three operations, crashed at every point, with every batch in flight kept, lost or torn in each way
//! that matters to a log: what is found is what a prefix of the operations leaves, with everything acknowledged in it; and what
//! was cut off does not come back when the log has gone on and is read once more.

mod bench;

use base::log::{Record, Request};
use base::{Rng, Sequence, ShardId};
use bench::disk::{Disk, Written, written};
use bench::model::Model;
use bench::{Bench, blocks, copy, data, freeze, register, shard, stamp, thaw, trim};
use std::collections::BTreeMap;
use store::{Geometry, Phase, Policy};

/// Blocks from the shard's beginning that the acts touch.
const TOUCHED: u32 = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    WriteOne,
    WriteThree,
    Again,
    Trim,
    Commit,
    Copy,
    Erase,
    Cut,
    Restart,
    DropAndRegister,
    Freeze,
    Thaw,
}

const ALL: [Act; 12] = [
    Act::WriteOne,
    Act::WriteThree,
    Act::Again,
    Act::Trim,
    Act::Commit,
    Act::Copy,
    Act::Erase,
    Act::Cut,
    Act::Restart,
    Act::DropAndRegister,
    Act::Freeze,
    Act::Thaw,
];
const SOME: [Act; 6] = [Act::WriteThree, Act::Trim, Act::Commit, Act::Copy, Act::DropAndRegister, Act::Freeze];

/// What remains of a batch that was in flight.
#[derive(Clone, Copy, Debug)]
enum Remains {
    Nothing,
    All,
    HeaderWithoutPayload,
    PayloadWithoutHeader,
    AllButTheLastSector,
}

const REMAINS: [Remains; 5] = [
    Remains::Nothing,
    Remains::All,
    Remains::HeaderWithoutPayload,
    Remains::PayloadWithoutHeader,
    Remains::AllButTheLastSector,
];

/// What an act asks for, given the number of the act.
fn requests(act: Act, n: u64, s: ShardId) -> Vec<Record> {
    let sequence = 3 + n;
    let tag = 100 * (n + 1);
    match act {
        Act::WriteOne => vec![data(sequence, 4, [tag])],
        Act::WriteThree => vec![data(sequence, 3, [tag, tag + 1, tag + 2])],
        Act::Again => vec![Record::Data { stamp: stamp(2, 2), block: 9, data: blocks([tag]) }],
        Act::Trim => vec![trim(sequence, 2, 3)],
        Act::Commit => vec![],
        Act::Copy => vec![copy(1, [tag, tag + 1, tag + 2])],
        Act::Erase => vec![Record::Erase { block: 0, count: 3 }],
        Act::Cut => vec![Record::Cut { above: Sequence(1) }],
        Act::Restart => vec![Record::Restart { committed: Sequence(sequence) }],
        Act::DropAndRegister => vec![Record::Drop, register(s, n)],
        Act::Freeze => vec![freeze(sequence, 1)],
        Act::Thaw => vec![thaw(sequence, 1)],
    }
}

/// A store with a little in its index and in its window, all of it durable.
fn base() -> (Disk, Geometry, Model) {
    let s = shard(1);
    let mut bench = Bench::ready(10);
    bench.append(s, register(s, 1));
    bench.append(s, data(1, 0, [1, 2, 3, 4]));
    bench.append(s, data(2, 4, [5, 6]));
    bench.commit(s, 1);
    bench.append(s, register(s, 2));
    bench.settle();
    let mut again = Bench::on(bench.disk, bench.geometry, bench.policy);
    again.settle();
    let recovered = again.recovered();
    let mut model = Model::read_from(&mut again, &[s], TOUCHED, &recovered);
    model.shards.get_mut(&s).unwrap().last = stamp(1, 1);
    assert_eq!(model.shards[&s].committed, Sequence(1));
    assert_eq!(model.shards[&s].window.len(), 1);
    (again.disk, again.geometry, model)
}

struct Crash<'a> {
    acts: &'a [Act],
    /// So many are acknowledged before the crash ...
    acknowledged: usize,
    /// ... and that before the others are asked for, so that their headers tell of it.
    in_turn: bool,
}

/// The models that each prefix of acts leaves, and how far commits were asked for.
fn prefixes(acts: &[Act], base: &Model, s: ShardId) -> (Vec<Model>, Sequence) {
    let mut model = base.clone();
    let mut all = vec![model.clone()];
    let mut asked = Sequence(0);
    let mut waiting = false;
    for (n, &act) in acts.iter().enumerate() {
        if act == Act::Commit {
            (waiting, asked) = (true, Sequence(99));
        }
        for record in requests(act, n as u64, s) {
            if std::mem::take(&mut waiting) {
                model.request(&Request::Commit { shard: s, through: Sequence(99) });
            }
            model.request(&Request::Append { shard: s, ticket: 0, record });
        }
        all.push(model.clone());
    }
    (all, asked)
}

fn act(bench: &mut Bench, act: Act, n: usize) {
    let s = shard(1);
    if act == Act::Commit {
        bench.commit(s, 99);
    }
    for record in requests(act, n as u64, s) {
        bench.append(s, record);
    }
    bench.step();
}

/// Does the acts and gives the disk as far as it is durable, with the batches in flight.
fn until_the_crash(crash: &Crash<'_>, disk: &Disk, geometry: Geometry) -> (Disk, Vec<Written>) {
    let policy = Policy { preallocated: true, ..Policy::default() };
    let mut bench = Bench::on(disk.clone(), geometry, policy);
    bench.settle();
    let (first, rest) = crash.acts.split_at(crash.acknowledged);
    for (n, &a) in first.iter().enumerate() {
        act(&mut bench, a, n);
    }
    if crash.in_turn {
        bench.settle();
    }
    for (n, &a) in rest.iter().enumerate() {
        act(&mut bench, a, n + first.len());
    }
    if !crash.in_turn {
        // Acts without an append have no batch; those acknowledged are the first in flight.
        let batches = first.iter().filter(|&&a| a != Act::Commit).count();
        (0..batches).for_each(|_| bench.perform(0));
        bench.step();
    }
    let flying = bench.disk.flying.iter().map(written).collect();
    (bench.disk, flying)
}

fn leave(disk: &mut Disk, batch: &Written, remains: Remains) {
    let last = batch.len() - 1;
    for (i, (place, bytes)) in batch.iter().enumerate() {
        let mut keep = |range: std::ops::Range<usize>| {
            let block = disk.media.entry(*place).or_insert_with(|| vec![0; 4096]);
            block[range.clone()].copy_from_slice(&bytes[range]);
        };
        match remains {
            Remains::Nothing => {}
            Remains::All => keep(0..4096),
            Remains::HeaderWithoutPayload if i == 0 => keep(0..4096),
            Remains::PayloadWithoutHeader if i > 0 => keep(0..4096),
            Remains::AllButTheLastSector => keep(0..if i == last { 3584 } else { 4096 }),
            Remains::HeaderWithoutPayload | Remains::PayloadWithoutHeader => {}
        }
    }
}

fn found(disk: Disk, geometry: Geometry) -> (Bench, Model) {
    let mut bench = Bench::on(disk, geometry, Policy { preallocated: true, ..Policy::default() });
    bench.settle();
    assert_eq!(*bench.store.phase(), Phase::Ready);
    let recovered = bench.recovered();
    let model = Model::read_from(&mut bench, &[shard(1)], TOUCHED, &recovered);
    (bench, model)
}

/// Crashes and checks; how many disks were looked at.
fn check(crash: &Crash<'_>, disk: &Disk, geometry: Geometry, base: &Model) -> usize {
    let s = shard(1);
    let (durable, flying) = until_the_crash(crash, disk, geometry);
    let (models, asked) = prefixes(crash.acts, base, s);
    let asked = BTreeMap::from([(s, asked)]);
    let cases = REMAINS.len().pow(flying.len() as u32);
    for case in 0..cases {
        let mut torn = Disk { media: durable.media.clone(), ..Disk::default() };
        let remains: Vec<Remains> =
            (0..flying.len()).map(|i| REMAINS[case / REMAINS.len().pow(i as u32) % REMAINS.len()]).collect();
        for (batch, &remains) in flying.iter().zip(&remains) {
            leave(&mut torn, batch, remains);
        }
        let about =
            || format!("{:?}, {} acknowledged, in turn {}, {remains:?}", crash.acts, crash.acknowledged, crash.in_turn);
        let (mut bench, held) = found(torn, geometry);
        let fits = models[crash.acknowledged..].iter().find_map(|model| model.as_found(&held, &asked));
        let Some(mut expected) = fits else { panic!("{}: no prefix leaves {held:#?}", about()) };
        // Goes on, and power fails once more: nothing of what was cut may join what was written since.
        let next = Record::Data { stamp: stamp(3, 50), block: 20, data: blocks([7]) };
        let ticket = bench.append(s, next.clone());
        bench.settle();
        assert_eq!(bench.durable(s), ticket);
        expected.request(&Request::Append { shard: s, ticket, record: next });
        let mut disk = bench.disk;
        disk.lose_power(&mut Rng::new(1));
        let (_, held) = found(disk, geometry);
        assert!(expected.as_found(&held, &BTreeMap::new()).is_some(), "{}: then {held:#?}", about());
    }
    cases
}

#[test]
fn every_crash_of_every_short_sequence_leaves_a_prefix_with_all_that_was_acknowledged() {
    let (disk, geometry, base) = base();
    let mut sequences: Vec<Vec<Act>> = ALL.iter().map(|&a| vec![a]).collect();
    sequences.extend(ALL.iter().flat_map(|&a| ALL.iter().map(move |&b| vec![a, b])));
    let pairs = SOME.iter().flat_map(|&a| SOME.iter().map(move |&b| (a, b)));
    sequences.extend(pairs.flat_map(|(a, b)| SOME.iter().map(move |&c| vec![a, b, c])));
    let mut crashes = 0;
    for acts in &sequences {
        for acknowledged in 0..=acts.len() {
            crashes += check(&Crash { acts, acknowledged, in_turn: true }, &disk, geometry, &base);
            if acknowledged > 0 && acknowledged < acts.len() {
                crashes += check(&Crash { acts, acknowledged, in_turn: false }, &disk, geometry, &base);
            }
        }
    }
    println!("{} sequences, {crashes} crashes, each opened twice", sequences.len());
    assert!(crashes > 10_000, "{crashes}");
}
