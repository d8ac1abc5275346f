//! How long a packet takes, and whether it passes at all.
//!
//! A cut is between two sets of processes, in one direction, on one network or on both; several may hold at once. What a
//! cut stops is not lost: TCP sends it again, so it arrives after the cut is gone, or its connection is given up first.

use crate::world::Pid;
use base::Rng;
use base::io::net::Network;
use base::time::Duration;

/// A set of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crowd(u128);

impl Crowd {
    /// These.
    pub fn of(pids: impl IntoIterator<Item = Pid>) -> Self {
        pids.into_iter().fold(Self(0), |crowd, pid| {
            assert!(pid.0 < 128, "a crowd has room for 128 processes");
            Self(crowd.0 | 1 << pid.0)
        })
    }

    /// Whether it is one of them.
    pub fn has(self, pid: Pid) -> bool {
        self.0 >> pid.0 & 1 == 1
    }
}

/// One thing that is wrong between two crowds, in one direction.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    /// Packets from these...
    pub from: Crowd,
    /// ...to these...
    pub to: Crowd,
    /// ...on this network, or on both...
    pub network: Option<Network>,
    /// ...meet this.
    pub what: What,
}

/// What packets meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// They do not pass until it is over.
    Cut,
    /// They take longer, by up to so many microseconds.
    Delay(u64),
}

/// Names a trouble, to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TroubleId(u64);

/// All that packets meet.
pub struct Weather {
    troubles: Vec<(TroubleId, Trouble)>,
    next: u64,
    /// How many times slower than a good network this one is.
    pub slower: u64,
    /// Microseconds that a connection may be slower than another, at most.
    pub uneven_us: u64,
    /// Chance of a frame to be damaged, in millionths.
    pub damage_ppm: u64,
    rng: Rng,
}

/// Bytes a second of one process' card on the primary network (10 Gbit/s); the replication network has a tenth.
pub const PRIMARY_BYTES_PER_S: u64 = 1_250_000_000;

impl Weather {
    /// Fair.
    pub fn new(rng: Rng) -> Self {
        Self { troubles: Vec::new(), next: 0, slower: 1, uneven_us: 0, damage_ppm: 0, rng }
    }

    /// Begins one.
    pub fn begin(&mut self, trouble: Trouble) -> TroubleId {
        let id = TroubleId(self.next);
        self.next += 1;
        self.troubles.push((id, trouble));
        id
    }

    /// Ends one. The world must then let held packets go: see `World::release_held`.
    pub(crate) fn end(&mut self, id: TroubleId) {
        self.troubles.retain(|(other, _)| *other != id);
    }

    /// Ends all.
    pub(crate) fn clear(&mut self) {
        self.troubles.clear();
        self.damage_ppm = 0;
    }

    /// Whether nothing is wrong between any two.
    pub fn is_fair(&self) -> bool {
        self.troubles.is_empty()
    }

    fn between(&self, from: Pid, to: Pid, network: Network) -> impl Iterator<Item = What> + '_ {
        let concerns = move |t: &Trouble| t.from.has(from) && t.to.has(to) && t.network.is_none_or(|n| n == network);
        self.troubles.iter().filter(move |(_, t)| concerns(t)).map(|(_, t)| t.what)
    }

    /// Whether packets are held.
    pub fn is_cut(&self, from: Pid, to: Pid, network: Network) -> bool {
        !self.troubles.is_empty() && self.between(from, to, network).any(|what| what == What::Cut)
    }

    /// How long one packet is under way, apart from its length.
    pub fn latency(&mut self, from: Pid, to: Pid, network: Network) -> Duration {
        // A lost segment costs a retransmission; on a quiet network one in a few thousand.
        let retransmit = if self.rng.chance(1, 4000) { self.rng.within(5_000, 200_000) } else { 0 };
        let most = self
            .between(from, to, network)
            .map(|what| if let What::Delay(us) = what { us } else { 0 })
            .max()
            .unwrap_or(0);
        let extra = if most > 0 { self.rng.below(most) } else { 0 };
        Duration::from_nanos(self.rng.within(30_000, 120_000) * self.slower + (retransmit + extra) * 1000)
    }

    /// How much slower than others a new connection is: paths differ.
    pub fn unevenness(&mut self) -> Duration {
        Duration::from_micros(if self.uneven_us > 0 { self.rng.below(self.uneven_us) } else { 0 })
    }

    /// The bit of a frame of so many bytes that is flipped on its way, if one is.
    pub fn damage(&mut self, frame_bytes: usize) -> Option<usize> {
        (self.damage_ppm > 0 && self.rng.chance(self.damage_ppm, 1_000_000))
            .then(|| self.rng.below(frame_bytes as u64 * 8) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_one_way_and_on_its_network_until_it_ends() {
        let mut weather = Weather::new(Rng::new(1));
        let (a, b, c) = (Pid(0), Pid(1), Pid(2));
        let cut =
            Trouble { from: Crowd::of([a]), to: Crowd::of([b, c]), network: Some(Network::Primary), what: What::Cut };
        let id = weather.begin(cut);
        assert!(weather.is_cut(a, b, Network::Primary) && weather.is_cut(a, c, Network::Primary));
        assert!(!weather.is_cut(b, a, Network::Primary) && !weather.is_cut(a, b, Network::Replication));
        weather.end(id);
        assert!(!weather.is_cut(a, b, Network::Primary));
    }

    #[test]
    fn a_delay_slows_only_those_it_names() {
        let mut weather = Weather::new(Rng::new(1));
        let (a, b) = (Pid(0), Pid(1));
        weather.begin(Trouble {
            from: Crowd::of([a]),
            to: Crowd::of([b]),
            network: None,
            what: What::Delay(1_000_000),
        });
        let longest = |weather: &mut Weather, from, to| {
            (0..50).map(|_| weather.latency(from, to, Network::Primary)).max().unwrap()
        };
        assert!(longest(&mut weather, a, b) > Duration::from_millis(500));
        assert!(longest(&mut weather, b, a) < Duration::from_millis(250));
    }
}
