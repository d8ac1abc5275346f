//! What can go wrong, each a named, seeded, counted injector (testing.md). Says what to do to whom and for how long; the run does it.

use crate::cluster::Cluster;
use crate::disk::Failing;
use crate::net::weather::{Crowd, Trouble, What};
use crate::shape::log_uniform;
use crate::world::Pid;
use base::Rng;
use base::io::net::Network;
use base::time::Duration;

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A node's process is killed and started again later.
    KillNode,
    /// A node's computer loses power, and with it what its disk had not made durable.
    PowerNode,
    /// A node's process gets no processor for a while.
    FreezeNode,
    /// Several nodes at once, killed or without power.
    KillMany,
    /// All nodes of one rack, killed or without power, or its switch cuts them off.
    LoseRack,
    /// Every node, one after the other or all together.
    Restart,
    /// The authority's process is killed.
    KillZone,
    /// The authority gets no processor.
    FreezeZone,
    /// A host's process is killed; its clients' operations die with it.
    KillHost,
    /// A host gets no processor.
    FreezeHost,
    /// Some cannot send to others; the other direction works.
    CutOneWay,
    /// Two groups cannot talk to each other.
    CutFull,
    /// Three groups: one hears both others, which do not hear each other.
    CutPartial,
    /// One is cut from everybody, on one network or on both.
    Isolate,
    /// A cut that comes and goes.
    Flap,
    /// Packets between some take long.
    Delay,
    /// One connection breaks.
    Reset,
    /// Every connection breaks.
    ResetStorm,
    /// Frames are damaged.
    Damage,
    /// One disk is slow.
    SlowDisk,
    /// A share of what one disk is asked fails.
    FailDisk,
    /// One disk ends nothing.
    StickDisk,
    /// A node comes back with a new disk.
    LoseDisk,
    /// Blocks rot on a disk, each on one member only.
    Rot,
    /// The metadata store is slow.
    SlowMeta,
    /// The metadata store says that it does not know.
    UnknownMeta,
    /// A volume is moved to another host while its primary and its old host are cut off together, and still believe in each other.
    Strand,
    /// Something happens to sender, receiver or connection just when a message of some kind is under way.
    Aim,
}

/// All classes, with the names under which they are counted.
pub const CLASSES: [(Class, &str); 28] = [
    (Class::KillNode, "kill-node"),
    (Class::PowerNode, "power-node"),
    (Class::FreezeNode, "freeze-node"),
    (Class::KillMany, "kill-many"),
    (Class::LoseRack, "lose-rack"),
    (Class::Restart, "restart-all"),
    (Class::KillZone, "kill-zone"),
    (Class::FreezeZone, "freeze-zone"),
    (Class::KillHost, "kill-host"),
    (Class::FreezeHost, "freeze-host"),
    (Class::CutOneWay, "cut-one-way"),
    (Class::CutFull, "cut-full"),
    (Class::CutPartial, "cut-partial"),
    (Class::Isolate, "isolate"),
    (Class::Flap, "flap"),
    (Class::Delay, "delay"),
    (Class::Reset, "reset"),
    (Class::ResetStorm, "reset-storm"),
    (Class::Damage, "damage"),
    (Class::SlowDisk, "slow-disk"),
    (Class::FailDisk, "fail-disk"),
    (Class::StickDisk, "stick-disk"),
    (Class::LoseDisk, "lose-disk"),
    (Class::Rot, "rot"),
    (Class::SlowMeta, "slow-meta"),
    (Class::UnknownMeta, "unknown-meta"),
    (Class::Strand, "strand"),
    (Class::Aim, "aim"),
];

/// One thing to be done, after a delay.
#[derive(Debug, Clone)]
pub enum Deed {
    /// End a process, with power or not; start it again after so long.
    Kill(Pid, bool, Duration),
    /// Take the processor for so long.
    Freeze(Pid, Duration),
    /// Let packets meet this for so long.
    Weather(Vec<Trouble>, Duration),
    /// Break so many connections in a thousand.
    Break(u64),
    /// Break the connections between two.
    Part(Pid, Pid),
    /// Damage so many frames in a million for so long.
    Damage(u64, Duration),
    /// Make a disk so many times slower for so long.
    SlowDisk(Pid, u64, Duration),
    /// Let so much of what a disk is asked fail for so long.
    FailDisk(Pid, Failing, Duration),
    /// Let a disk end nothing for so long.
    StickDisk(Pid, Duration),
    /// End a process; start it again after so long, with a new disk if no volume needs the old one.
    LoseDisk(Pid, Duration),
    /// Let blocks rot.
    Rot,
    /// Make the metadata store so many times slower, and unsure so many times in a thousand, for so long.
    Meta(u64, u64, Duration),
    /// Take the power of all nodes at once; each comes back in its own time, this one last.
    Blackout(Option<Pid>),
    /// Strand the primary and the host of some volume for so long, and move the volume.
    Strand(Duration),
    /// Strike at the next so many messages of a kind.
    Aim(u16, u32),
}

impl Deed {
    /// For people.
    pub fn words(&self, cluster: &Cluster) -> String {
        let name = |pid: &Pid| cluster.world.peer(*pid).to_string();
        let crowd = |crowd: Crowd| {
            let inside = cluster.servants().into_iter().filter(|pid| crowd.has(*pid));
            inside.map(|pid| name(&pid)).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Kill(pid, true, away) => format!("{} loses power for {away:?}", name(pid)),
            Self::Kill(pid, false, away) => format!("{} is killed, for {away:?}", name(pid)),
            Self::Freeze(pid, how_long) => format!("{} stands still for {how_long:?}", name(pid)),
            Self::Weather(troubles, how_long) => {
                let one = |t: &Trouble| {
                    let network = t.network.map_or(String::new(), |network| format!(" on the {network:?} network"));
                    format!("{:?} from [{}] to [{}]{network}", t.what, crowd(t.from), crowd(t.to))
                };
                format!("{}, for {how_long:?}", troubles.iter().map(one).collect::<Vec<_>>().join("; "))
            }
            Self::Break(per_mille) => format!("{per_mille} of a thousand connections break, and one"),
            Self::Part(a, b) => format!("connections between {} and {} break", name(a), name(b)),
            Self::Damage(ppm, how_long) => format!("{ppm} of a million frames are damaged for {how_long:?}"),
            Self::SlowDisk(pid, slower, how_long) => {
                format!("{}'s disk is {slower} times slower for {how_long:?}", name(pid))
            }
            Self::FailDisk(pid, failing, how_long) => {
                let Failing { reads, writes, flushes } = failing;
                let of = name(pid);
                format!(
                    "of a thousand reads, writes, flushes of {of}'s disk {reads}, {writes}, {flushes} fail for {how_long:?}"
                )
            }
            Self::StickDisk(pid, how_long) => format!("{}'s disk is stuck for {how_long:?}", name(pid)),
            Self::LoseDisk(pid, away) => format!("{} is killed and gets another disk after {away:?}", name(pid)),
            Self::Rot => "blocks rot".to_owned(),
            Self::Meta(slower, unknown, how_long) => {
                format!("metadata are {slower} times slower and unsure {unknown} times in a thousand for {how_long:?}")
            }
            Self::Blackout(_) => "all nodes lose power".to_owned(),
            Self::Strand(how_long) => format!("a primary and its host hear each other only, for {how_long:?}"),
            Self::Aim(kind, shots) => {
                let name = wire::KINDS.iter().find(|(k, _)| k == kind).map_or("?", |(_, name)| name);
                format!("the next {shots} {name} are aimed at")
            }
        }
    }
}

/// Kinds of messages at which a step of the protocol hangs.
const AIMED_AT: [&str; 27] = [
    "Deposed",
    "Sync",
    "End",
    "Incomplete",
    "Fetch",
    "WindowEnd",
    "Adopt",
    "Synced",
    "Learn",
    "Learning",
    "Extent",
    "Copied",
    "Finish",
    "Learned",
    "Register",
    "Propose",
    "Unheard",
    "Proposed",
    "Configure",
    "Release",
    "Released",
    "HostRegister",
    "Attached",
    "Replicate",
    "Done",
    "Mend",
    "Mended",
];

const MS: fn(u64) -> Duration = Duration::from_millis;

/// What one fault of a class is in this world, now: deeds, each with its delay.
pub fn draw(class: Class, cluster: &Cluster, rng: &mut Rng) -> Vec<(Duration, Deed)> {
    let now = |deed| vec![(Duration::ZERO, deed)];
    let one = |rng: &mut Rng, of: &[Pid]| *rng.pick(of).expect("there is one of each");
    let down = |rng: &mut Rng| log_uniform(rng, MS(5), MS(12_000));
    let everybody = cluster.servants();
    match class {
        Class::KillNode => now(Deed::Kill(one(rng, &cluster.nodes), false, down(rng))),
        Class::PowerNode => now(Deed::Kill(one(rng, &cluster.nodes), true, down(rng))),
        Class::FreezeNode => now(Deed::Freeze(one(rng, &cluster.nodes), log_uniform(rng, MS(1), MS(20_000)))),
        Class::KillMany => {
            let mut nodes = cluster.nodes.clone();
            rng.shuffle(&mut nodes);
            nodes.truncate(rng.within(2, nodes.len() as u64) as usize);
            let power = rng.chance(1, 2);
            let spread = rng.below(200);
            nodes.iter().map(|n| (MS(rng.within(0, spread)), Deed::Kill(*n, power, down(rng)))).collect()
        }
        Class::LoseRack => lose_rack(rng, cluster, &everybody),
        Class::Restart => {
            let (gap, together) = (rng.within(100, 4000), rng.chance(1, 2));
            let (power, away) = (rng.chance(1, 2), log_uniform(rng, MS(10), MS(3000)));
            let delay = |i: u64| if together { Duration::ZERO } else { MS(i * gap) };
            (0..).zip(&cluster.nodes).map(|(i, n)| (delay(i), Deed::Kill(*n, power, away))).collect()
        }
        Class::KillZone => now(Deed::Kill(cluster.zone, rng.chance(1, 3), down(rng))),
        Class::FreezeZone => now(Deed::Freeze(cluster.zone, log_uniform(rng, MS(1), MS(8_000)))),
        Class::KillHost => {
            now(Deed::Kill(one(rng, &cluster.hosts), rng.chance(1, 3), log_uniform(rng, MS(5), MS(4_000))))
        }
        Class::FreezeHost => now(Deed::Freeze(one(rng, &cluster.hosts), log_uniform(rng, MS(1), MS(8_000)))),
        Class::Delay => {
            let what = What::Delay(rng.within(1, 300) * 1000);
            now(weather(rng, &everybody, &[(false, true)], what))
        }
        Class::CutOneWay => now(weather(rng, &everybody, &[(false, true)], What::Cut)),
        Class::CutFull => now(weather(rng, &everybody, &[(false, true), (true, false)], What::Cut)),
        Class::CutPartial => now(partial(rng, everybody)),
        Class::Isolate => now(isolate(rng, &everybody)),
        Class::Flap => flap(rng, &everybody),
        Class::Reset => now(Deed::Break(0)),
        Class::ResetStorm => now(Deed::Break(rng.within(100, 1000))),
        Class::Damage => now(Deed::Damage(rng.within(100, 20_000), log_uniform(rng, MS(100), MS(5_000)))),
        Class::SlowDisk => {
            let (slower, how_long) = (10 << rng.below(7), log_uniform(rng, MS(50), MS(10_000)));
            now(Deed::SlowDisk(one(rng, &cluster.nodes), slower, how_long))
        }
        Class::FailDisk => now(fail_disk(rng, &cluster.nodes)),
        Class::StickDisk => now(Deed::StickDisk(one(rng, &cluster.nodes), log_uniform(rng, MS(20), MS(15_000)))),
        Class::LoseDisk => now(Deed::LoseDisk(one(rng, &cluster.nodes), log_uniform(rng, MS(50), MS(12_000)))),
        // Each time some blocks are chosen, and those chosen before rot as soon as the log proves them durable.
        Class::Rot => (0..rng.within(10, 60)).map(|i| (MS(i * 250), Deed::Rot)).collect(),
        Class::SlowMeta => now(Deed::Meta(10 << rng.below(7), 0, log_uniform(rng, MS(50), MS(10_000)))),
        Class::Strand => now(Deed::Strand(MS(rng.within(1_000, 10_000)))),
        Class::Aim => {
            let name = *rng.pick(&AIMED_AT).expect("not empty");
            let kind = wire::KINDS.iter().find(|(_, other)| *other == name).expect("a message of that name").0;
            now(Deed::Aim(kind, rng.within(1, 4) as u32))
        }
        Class::UnknownMeta => now(Deed::Meta(1, rng.within(10, 500), log_uniform(rng, MS(50), MS(10_000)))),
    }
}

/// What happens when an aimed fault strikes: to which of the two, or to what is between them.
pub fn strike(from: Option<Pid>, to: Option<Pid>, rng: &mut Rng) -> (Duration, Deed) {
    let either = if rng.chance(1, 2) { from.or(to) } else { to.or(from) };
    let one = either.expect("somebody sent it");
    let away = log_uniform(rng, MS(5), MS(6_000));
    let deed = match (rng.below(10), from, to) {
        (0, Some(from), Some(to)) => {
            let (from, to) = (Crowd::of([from]), Crowd::of([to]));
            Deed::Weather(vec![Trouble { from, to, network: None, what: What::Cut }], away)
        }
        (1, ..) => Deed::Freeze(one, away),
        (8 | 9, ..) => Deed::Blackout(from),
        (2, ..) => Deed::Kill(one, true, away),
        (3 | 4, ..) => Deed::Kill(one, false, away),
        (_, Some(from), Some(to)) => Deed::Part(from, to),
        _ => Deed::Kill(one, false, away),
    };
    // Before it arrives, when it has just arrived, or while what it causes is on its way to a disk.
    (Duration::from_micros(log_uniform(rng, MS(1), MS(2_000)).as_millis() as u64), deed)
}

fn lose_rack(rng: &mut Rng, cluster: &Cluster, everybody: &[Pid]) -> Vec<(Duration, Deed)> {
    let one = *rng.pick(&cluster.nodes).expect("there is a node");
    let (inside, outside): (Vec<Pid>, Vec<Pid>) =
        everybody.iter().partition(|pid| cluster.rack_of(**pid) == cluster.rack_of(one));
    let away = log_uniform(rng, MS(50), MS(12_000));
    match rng.below(3) {
        0 => {
            let (inside, outside) = (Crowd::of(inside), Crowd::of(outside));
            vec![(Duration::ZERO, Deed::Weather(apart(inside, outside), away))]
        }
        // Power comes back for all of them at once; their processes are up when they are.
        power => {
            let back = |rng: &mut Rng| away + MS(rng.below(500));
            inside.iter().map(|pid| (Duration::ZERO, Deed::Kill(*pid, power == 1, back(rng)))).collect()
        }
    }
}

/// Few or all of one kind, or a little of everything.
fn fail_disk(rng: &mut Rng, nodes: &[Pid]) -> Deed {
    let per_mille = *rng.pick(&[1, 20, 300, 1000]).expect("not empty");
    let failing = match rng.below(5) {
        0 => Failing { reads: per_mille, ..Failing::default() },
        1 | 2 => Failing { writes: per_mille, ..Failing::default() },
        3 => Failing { flushes: per_mille, ..Failing::default() },
        _ => Failing { reads: per_mille, writes: per_mille, flushes: per_mille },
    };
    Deed::FailDisk(*rng.pick(nodes).expect("there is a node"), failing, log_uniform(rng, MS(20), MS(10_000)))
}

fn how_long(rng: &mut Rng) -> Duration {
    log_uniform(rng, MS(20), MS(15_000))
}

fn network(rng: &mut Rng) -> Option<Network> {
    match rng.below(6) {
        0 => Some(Network::Replication),
        1 | 2 => Some(Network::Primary),
        _ => None,
    }
}

/// Two groups, by coin; `ways` says between which of them, in which direction.
fn weather(rng: &mut Rng, all: &[Pid], ways: &[(bool, bool)], what: What) -> Deed {
    let sides: Vec<(Pid, bool)> = all.iter().map(|pid| (*pid, rng.chance(1, 2))).collect();
    let crowd = |side: bool| Crowd::of(sides.iter().filter(|(_, s)| *s == side).map(|(pid, _)| *pid));
    let network = network(rng);
    let troubles =
        ways.iter().map(|(from, to)| Trouble { from: crowd(*from), to: crowd(*to), network, what }).collect();
    Deed::Weather(troubles, how_long(rng))
}

/// Two groups that cannot talk to each other, on any network.
pub fn apart(a: Crowd, b: Crowd) -> Vec<Trouble> {
    let cut = |from, to| Trouble { from, to, network: None, what: What::Cut };
    vec![cut(a, b), cut(b, a)]
}

fn partial(rng: &mut Rng, mut all: Vec<Pid>) -> Deed {
    rng.shuffle(&mut all);
    let third = all.len() / 3;
    let (a, b) = (Crowd::of(all[..third].iter().copied()), Crowd::of(all[third..2 * third].iter().copied()));
    Deed::Weather(apart(a, b), how_long(rng))
}

fn isolate(rng: &mut Rng, all: &[Pid]) -> Deed {
    let lone = *rng.pick(all).expect("somebody is there");
    let (alone, rest) = (Crowd::of([lone]), Crowd::of(all.iter().copied().filter(|pid| *pid != lone)));
    let network = network(rng);
    let mut troubles = vec![Trouble { from: alone, to: rest, network, what: What::Cut }];
    if rng.chance(2, 3) {
        troubles.push(Trouble { from: rest, to: alone, network, what: What::Cut });
    }
    Deed::Weather(troubles, how_long(rng))
}

fn flap(rng: &mut Rng, all: &[Pid]) -> Vec<(Duration, Deed)> {
    let Deed::Weather(troubles, _) = isolate(rng, all) else { unreachable!("isolation is weather") };
    let period = rng.within(50, 1500);
    let dark = MS(rng.within(period / 4, period));
    (0..rng.within(3, 10)).map(|i| (MS(i * period), Deed::Weather(troubles.clone(), dark))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    #[test]
    fn every_class_has_its_place_in_the_table_and_does_something() {
        let mut rng = Rng::new(1);
        let shape = Shape::draw(&mut rng, CLASSES.len());
        let cluster = Cluster::new(&rng, &shape, 0);
        for (place, (class, name)) in CLASSES.iter().enumerate() {
            assert_eq!(*class as usize, place, "{name}");
            assert!(!draw(*class, &cluster, &mut rng).is_empty(), "{name}");
        }
        for name in AIMED_AT {
            assert!(wire::KINDS.iter().any(|(_, other)| *other == name), "{name}");
        }
    }
}
