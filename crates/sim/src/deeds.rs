//! Does to a run's world what `faults` draws.

use crate::faults::{self, CLASSES, Deed};
use crate::net::weather::{Crowd, Trouble, What};
use crate::report::Failure;
use crate::run::{MS, Run, Task, Verdict};
use crate::shape::log_uniform;
use crate::world::Pid;
use base::io::net::Peer;
use base::time::Duration;
use base::{Configuration, Rng};

impl Run {
    pub(crate) fn next_fault(&mut self) {
        if self.faults_on {
            let (low, high) = self.shape.fault_gap;
            let mut rng = self.dice("gap", self.disturbances);
            let gap = Duration::from_nanos(rng.within(low.as_nanos() as u64, high.as_nanos() as u64));
            self.after(gap, Task::Fault);
        }
    }

    /// Chance that is the same whatever else of the run is left out.
    pub(crate) fn dice(&self, what: &str, number: u64) -> Rng {
        self.dice.split(&format!("{what} {number}"))
    }

    /// The number of a fault or a move, and whether it happens.
    pub(crate) fn disturb(&mut self) -> (u64, bool) {
        let number = self.disturbances;
        self.disturbances += 1;
        (number, !self.less.leaves_out(number))
    }

    pub(crate) fn fault(&mut self) {
        if !self.faults_on {
            return;
        }
        let (number, happens) = self.disturb();
        if happens {
            let mut rng = self.dice("fault", number);
            let place = *rng.pick(&self.shape.classes).expect("faults are on");
            let (class, name) = CLASSES[place];
            *self.counts.entry(name).or_default() += 1;
            for (delay, deed) in faults::draw(class, &self.cluster, &mut rng) {
                self.after(delay, Task::Deed(name, number, deed));
            }
        }
        self.next_fault();
    }

    /// What a fault of a class does, now.
    pub(crate) fn strike(&mut self, class: &'static str, number: u64, deed: Deed) {
        self.coverage.strikes(class, &deed, &self.cluster);
        let now = self.cluster.world.now();
        if self.cluster.world.trace.keeps_lines() {
            let words = deed.words(&self.cluster);
            self.cluster.world.trace.tell(now, format_args!("FAULT {number} ({class}): {words}"));
        }
        self.do_deed(deed);
    }

    pub(crate) fn do_deed(&mut self, deed: Deed) {
        match deed {
            Deed::Kill(pid, power, away) if self.cluster.exists(pid) => {
                self.cluster.world.kill(pid, power);
                if matches!(self.cluster.world.peer(pid), Peer::Host(_)) {
                    self.forget_operations(pid);
                }
                self.after(away, Task::Start(pid));
            }
            Deed::Freeze(pid, how_long) if self.cluster.is_running(pid) => {
                self.cluster.world.freeze(pid);
                self.after(how_long, Task::Thaw(pid));
            }
            Deed::Kill(..) | Deed::Freeze(..) => {}
            Deed::Weather(troubles, how_long) => {
                let ids = troubles.into_iter().map(|trouble| self.cluster.world.net.weather.begin(trouble)).collect();
                self.after(how_long, Task::EndWeather(ids));
            }
            Deed::Break(per_mille) => {
                let live = self.cluster.world.net.live();
                let mut chosen: Vec<_> = live.iter().copied().filter(|_| self.rng.chance(per_mille, 1000)).collect();
                chosen.extend(self.rng.pick(&live));
                chosen.into_iter().for_each(|conn| self.cluster.world.break_connection(conn));
            }
            Deed::Part(a, b) => {
                let between = self.cluster.world.net.between(a, b);
                between.into_iter().for_each(|conn| self.cluster.world.break_connection(conn));
            }
            Deed::Strand(how_long) => self.strand(how_long),
            Deed::Rot => {
                let flipped = self.rotting.strike(&mut self.cluster, &mut self.rng);
                *self.counts.entry("rotten-blocks").or_default() += flipped;
            }
            Deed::Blackout(last) => {
                for node in self.cluster.nodes.clone() {
                    let soonest = if Some(node) == last { MS(5_000) } else { MS(5) };
                    let away =
                        log_uniform(&mut self.rng, soonest, if Some(node) == last { MS(9_000) } else { MS(600) });
                    self.do_deed(Deed::Kill(node, true, away));
                }
            }
            Deed::Aim(kind, shots) => self.cluster.world.observer.aim = (kind, shots),
            Deed::Damage(ppm, how_long) => {
                self.cluster.world.net.weather.damage_ppm = ppm;
                self.after(how_long, Task::EndDamage);
            }
            Deed::SlowDisk(pid, slower, how_long) => {
                self.cluster.world.disk(pid).expect("a node has a disk").slower = slower;
                self.after(how_long, Task::EndSlowDisk(pid));
            }
            Deed::FailDisk(pid, failing, how_long) => self.fail_disk(pid, failing, how_long),
            Deed::StickDisk(pid, how_long) => {
                self.cluster.world.disk(pid).expect("a node has a disk").stick();
                self.after(how_long, Task::UnstickDisk(pid));
            }
            Deed::LoseDisk(pid, away) => self.lose_disk(pid, away),
            Deed::Meta(slower, unknown, how_long) => {
                self.set_meta(slower, unknown);
                self.after(how_long, Task::EndMeta);
            }
        }
    }

    /// The primary of a shard that can do without it hears nobody any more, on either network, and is heard.
    pub(crate) fn deafen(&mut self) {
        let epochs = &self.cluster.world.observer.epochs;
        let used = |c: &&Configuration| c.client.is_some() && c.members.len() > usize::from(c.min_copies);
        let used: Vec<_> = epochs.shards().filter_map(|shard| epochs.newest(shard)).filter(used).collect();
        let Some(deaf) = self.rng.pick(&used).map(|c| c.primary) else { return };
        let led = used.iter().filter(|c| c.primary == deaf).map(|c| c.shard).collect();
        let pid = self.cluster.pid_of(Peer::Node(deaf)).expect("every node has a process");
        let others = Crowd::of(self.cluster.servants().into_iter().filter(|other| *other != pid));
        let trouble = Trouble { from: others, to: Crowd::of([pid]), network: None, what: What::Cut };
        self.cluster.world.net.weather.begin(trouble);
        *self.counts.entry("deaf-primary").or_default() += 1;
        self.deaf = Some((deaf, led));
    }

    /// R14, R15: who hears nobody leads nothing any more of what others can lead.
    pub(crate) fn nobody_deaf_leads(&self) -> Verdict {
        let Some((deaf, led)) = &self.deaf else { return Ok(()) };
        let epochs = &self.cluster.world.observer.epochs;
        match led.iter().filter_map(|shard| epochs.newest(*shard)).find(|c| c.primary == *deaf) {
            Some(c) => Err(Failure::of(format!("liveness: {deaf} hears nobody and leads {} in {}", c.shard, c.epoch))),
            None => Ok(()),
        }
    }

    /// The primary of a shard and the host that uses it hear each other and nobody else, while the volume is given to another host.
    pub(crate) fn strand(&mut self, how_long: Duration) {
        let epochs = &self.cluster.world.observer.epochs;
        let used: Vec<_> =
            epochs.shards().filter_map(|shard| epochs.newest(shard)).filter(|c| c.client.is_some()).collect();
        let Some(config) = self.rng.pick(&used).copied().cloned() else { return };
        let volume = self.clients.iter().position(|client| client.id == Some(config.shard.volume));
        let (Some(volume), Some(client)) = (volume, config.client) else { return };
        let primary = self.cluster.pid_of(Peer::Node(config.primary)).expect("every node has a process");
        let host = self.cluster.pid_of(Peer::Host(client)).expect("every host has a process");
        let others: Vec<Pid> = self.cluster.servants().into_iter().filter(|p| ![primary, host].contains(p)).collect();
        let elsewhere: Vec<Pid> = self.cluster.hosts.iter().copied().filter(|pid| *pid != host).collect();
        let troubles = faults::apart(Crowd::of([primary, host]), Crowd::of(others));
        self.do_deed(Deed::Weather(troubles, how_long));
        let Some(other) = self.rng.pick(&elsewhere).copied() else { return };
        // At once, or while others are about to lead the volume's shards on.
        match self.rng.below(3) {
            0 => self.begin_move(volume, other),
            _ => {
                let delay = MS(self.rng.within(50, 3_000));
                self.after(delay, Task::MoveTo(volume, other));
            }
        }
    }
}
