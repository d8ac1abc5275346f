//! What the demo shows, step by step. Each step returns only when what it shows has held.

use super::Report;
use super::load::{CONNECTIONS, Ledger, Load, Task, Volume};
use crate::args::DemoFault;
use crate::operate;
use crate::refusal::{Code, Refusal};
use crate::temporary::{Region, Wish};
use base::size::Size;
use base::{BLOCK_BYTES, NodeId, VolumeId};
use frontend::nbd::client::Client;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const VOLUME_BYTES: u64 = 256 << 20;
/// Room for the log of the whole demo several times over: logs are not cleaned yet.
const NODE_SIZE: Size = Size(4 << 30);
/// Three copies, and a place for a fourth when one is lost.
const NODES: u16 = 4;
/// Seconds that a lost copy is waited for: shorter than in `seawall dev`, because somebody watches.
const REMIRROR_AFTER_S: u64 = 3;
/// An I/O that waits for longer means that something does not heal.
const STUCK_AFTER: Duration = Duration::from_secs(15);
/// What a fault may cost any single I/O at most. The house aims at 1 s; a computer that also builds is slower.
const STALL_MAX: Duration = Duration::from_secs(5);
/// After a kill, how long the load is watched at least.
const WATCH: Duration = Duration::from_secs(2);

struct Story<'a> {
    region: Region,
    report: &'a mut Report,
    volume: VolumeId,
    at: Volume,
}

/// How long I/O took from the moment of a fault on.
struct Stall {
    longest: Duration,
    p99: Duration,
}

impl std::fmt::Display for Stall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "longest {}, p99 {}", ms(self.longest), ms(self.p99))
    }
}

fn failed(what: impl Into<String>) -> Refusal {
    Refusal::new(Code::DidNotHold, what)
}

fn ms(d: Duration) -> String {
    format!("{:.1} ms", d.as_secs_f64() * 1000.0)
}

/// The whole demo.
pub fn run(dir: &Path, seed: u64, fault: Option<DemoFault>, report: &mut Report) -> Result<(), Refusal> {
    let options = ["--remirror-after", &REMIRROR_AFTER_S.to_string()];
    let wish = Wish { program: None, nodes: NODES, node_size: NODE_SIZE, options: &options };
    let region = Region::start(dir.to_path_buf(), &wish)?;
    report.tell(&format!("ready: one authority, {NODES} nodes in {NODES} racks, one host; each a process of its own"));
    let made = operate::create_volume(&region.dir, VOLUME_BYTES)?;
    let volume = made.info.volume;
    let reply = operate::attach_volume(&region.dir, volume, None, false)?;
    let at =
        Volume { socket: PathBuf::from(&reply.socket), id: volume, blocks: VOLUME_BYTES / BLOCK_BYTES as u64, seed };
    let mut story = Story { region, report, volume, at };
    let (primary, members) = story.region.members(volume)?;
    let text = format!(
        "{volume} of {}, attached; its copies are on {}, primary {primary}",
        Size(VOLUME_BYTES),
        list(&members)
    );
    story.report.tell(&text);
    let ledger = story.fill()?;
    let ledger = story.under_load(ledger, fault)?;
    story.read_back(ledger, fault)?;
    let stopping = Instant::now();
    story.region.stop()?;
    story
        .report
        .tell(&format!("everything that was started has stopped, in {:.1} s", stopping.elapsed().as_secs_f64()));
    Ok(())
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Story<'_> {
    /// Writes every block once.
    fn fill(&mut self) -> Result<Ledger, Refusal> {
        let began = Instant::now();
        let load = Load::start(&self.at, Ledger::new(&self.at), Task::Fill);
        if !load.wait(Duration::from_secs(60), STUCK_AFTER).map_err(failed)? {
            return Err(failed("the volume could not be filled within 60 s"));
        }
        let ledger = load.join(STUCK_AFTER).map_err(failed)?;
        let rate = VOLUME_BYTES as f64 / (1 << 20) as f64 / began.elapsed().as_secs_f64();
        let text = format!("{rate:.0} MiB/s");
        self.report.tell(&format!(
            "every block written once, over {CONNECTIONS} NBD connections: {text}, each byte durable on three nodes"
        ));
        self.report.figure("first fill", text, rate.round());
        Ok(ledger)
    }

    /// Everything that is shown while I/O goes on.
    fn under_load(&mut self, ledger: Ledger, fault: Option<DemoFault>) -> Result<Ledger, Refusal> {
        let load = Load::start(&self.at, ledger, Task::Mix);
        self.report.tell("now a steady mix of reads and writes, every byte that is read is verified");
        self.flow(&load, Duration::from_secs(3))?;
        let calm = load.durations(Duration::ZERO, load.now());
        self.report.figure("I/O before any fault, p99", ms(percentile(&calm, 99)), micros(percentile(&calm, 99)));
        if fault == Some(DemoFault::LoseTwo) {
            return self
                .lose_two(&load)
                .and(Err(failed("two of three copies are lost for good, and nothing was noticed")));
        }
        self.kill_primary(&load)?;
        self.kill_backup(&load)?;
        self.kill_authority(&load)?;
        let counters = load.counters();
        let (written, verified) = (counters.written.load(Ordering::Relaxed), counters.verified.load(Ordering::Relaxed));
        let ledger = load.join(STUCK_AFTER).map_err(failed)?;
        let text = format!("{} MiB written, {} MiB read and right", written >> 20, verified >> 20);
        self.report.tell(&format!("the load has ended: {text}, no I/O failed"));
        self.report.figure("data under faults", text, written + verified);
        Ok(ledger)
    }

    /// Lets the load run for a while.
    fn flow(&mut self, load: &Load, span: Duration) -> Result<(), Refusal> {
        match load.wait(span, STUCK_AFTER) {
            Ok(false) => Ok(()),
            Ok(true) => Err(failed("the load ended by itself")),
            Err(what) => Err(failed(what)),
        }
    }

    /// Waits for something while the load runs.
    fn meanwhile<T>(
        &mut self,
        load: &Load,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&mut Region) -> Result<Option<T>, Refusal>,
    ) -> Result<T, Refusal> {
        self.region.until(what, within, |region| {
            load.wait(Duration::ZERO, STUCK_AFTER).map_err(failed)?;
            look(region)
        })
    }

    /// After something happened at `at`: waits until I/O goes on, and says how long I/O took since then.
    fn stall(&mut self, load: &Load, at: Duration) -> Result<Stall, Refusal> {
        self.flow(load, WATCH)?;
        self.meanwhile(load, "I/O goes on", STUCK_AFTER, |_| Ok(load.flows_since(at).then_some(())))?;
        let all = load.durations(at, load.now());
        let stall = Stall { longest: percentile(&all, 100), p99: percentile(&all, 99) };
        if stall.longest > STALL_MAX {
            let text = format!("an I/O stood still for {}; at most {} are allowed", ms(stall.longest), ms(STALL_MAX));
            return Err(failed(text));
        }
        Ok(stall)
    }

    fn figure_of(&mut self, name: &'static str, stall: &Stall) {
        let value = serde_json::json!({ "longest_us": micros(stall.longest), "p99_us": micros(stall.p99) });
        self.report.figure(name, stall.to_string(), value);
    }

    fn kill_primary(&mut self, load: &Load) -> Result<(), Refusal> {
        let (primary, members) = self.region.members(self.volume)?;
        let epoch = self.epoch()?;
        self.report.tell(&format!("kill -9 of {primary}, the primary, under load"));
        let (at, began) = (load.now(), Instant::now());
        self.region.kill(&primary.to_string())?;
        let stall = self.stall(load, at)?;
        let volume = self.volume;
        let next = self.meanwhile(load, "a new primary is elected", STUCK_AFTER, |region| {
            Ok(region.members(volume).ok().map(|(next, _)| next).filter(|next| *next != primary))
        })?;
        let text = format!("{next} was elected (epoch {epoch} to {}); I/O took: {stall}", self.epoch()?);
        self.report.tell(&text);
        self.figure_of("I/O when the primary is killed", &stall);
        let now = self.whole(load, &members)?;
        self.report.tell(&format!("re-mirrored: the volume is on {} again, with {primary} still dead", list(&now)));
        let took = format!(
            "{:.1} s, of them {REMIRROR_AFTER_S} s of waiting for it to come back",
            began.elapsed().as_secs_f64()
        );
        self.report.figure("re-mirrored to a spare node", took, micros(began.elapsed()));
        self.region.start_again(&primary.to_string())?;
        self.meanwhile(load, "the killed node is up again", Duration::from_secs(20), |region| {
            let nodes = operate::nodes(&region.dir, Some(primary)).unwrap_or_default();
            Ok(nodes
                .iter()
                .any(|n| n.info.entry.node == primary && n.condition == wire::NodeCondition::Up)
                .then_some(()))
        })?;
        self.report.tell(&format!("{primary} was started again, gave its old copy up and is up"));
        Ok(())
    }

    /// Waits until the volume has all its copies; who has them.
    fn whole(&mut self, load: &Load, before: &[NodeId]) -> Result<Vec<NodeId>, Refusal> {
        let volume = self.volume;
        let copies = before.len();
        self.meanwhile(load, "all copies are there again", Duration::from_secs(60), |region| {
            let Some(state) = region.volume(volume) else { return Ok(None) };
            let whole = state.condition == wire::VolumeCondition::Ok
                && state.shards.iter().all(|s| s.config.members.len() == copies && s.config.learner.is_none());
            Ok(whole.then(|| state.shards[0].config.members.iter().map(|m| m.node).collect()))
        })
    }

    fn epoch(&self) -> Result<base::Epoch, Refusal> {
        let state = operate::show(&self.region.dir, self.volume)?;
        state.shards.first().map(|s| s.config.epoch).ok_or_else(|| failed("the volume has no shard"))
    }

    fn kill_backup(&mut self, load: &Load) -> Result<(), Refusal> {
        let (primary, members) = self.region.members(self.volume)?;
        let backup = *members.iter().find(|m| **m != primary).ok_or_else(|| failed("the volume has no backup"))?;
        self.report.tell(&format!("kill -9 of {backup}, a backup, under load"));
        let at = load.now();
        self.region.kill(&backup.to_string())?;
        let stall = self.stall(load, at)?;
        self.report.tell(&format!("it leaves the members; I/O took: {stall}"));
        self.figure_of("I/O when a backup is killed", &stall);
        let began = Instant::now();
        self.region.start_again(&backup.to_string())?;
        let now = self.whole(load, &members)?;
        let took = format!("{:.1} s", began.elapsed().as_secs_f64());
        self.report.tell(&format!("{backup} was started again; after {took} the volume is whole, on {}", list(&now)));
        self.report.figure("killed backup back, whole after", took, micros(began.elapsed()));
        Ok(())
    }

    fn kill_authority(&mut self, load: &Load) -> Result<(), Refusal> {
        self.report.tell("kill -9 of the zone's authority: the data path does not need it");
        let at = load.now();
        self.region.kill("zone")?;
        self.flow(load, Duration::from_secs(3))?;
        let stall = self.stall(load, at)?;
        self.report.tell(&format!("5 s without an authority; I/O took: {stall}"));
        self.figure_of("I/O without an authority", &stall);
        self.region.start_again("zone")?;
        let (_, members) = {
            let volume = self.volume;
            self.meanwhile(load, "the authority answers", Duration::from_secs(20), |region| {
                Ok(region.members(volume).ok())
            })?
        };
        self.whole(load, &members)?;
        self.report.tell("the authority is back and knows the volume as it was");
        Ok(())
    }

    /// Everything is read twice, the second time under a new attachment.
    fn read_back(&mut self, ledger: Ledger, fault: Option<DemoFault>) -> Result<(), Refusal> {
        if fault == Some(DemoFault::FlipByte) {
            self.flip_byte()?;
        }
        let ledger = self.check(ledger)?;
        self.report.tell(&format!("all {} blocks read back: each as it was last written", self.at.blocks));
        operate::detach_volume(&self.region.dir, self.volume)?;
        let reply = operate::attach_volume(&self.region.dir, self.volume, None, false)?;
        self.at.socket = PathBuf::from(reply.socket);
        self.check(ledger)?;
        self.report.tell(&format!("detached, attached again (generation {}), read again: the same", reply.generation));
        self.report.figure("read back, twice", format!("{} MiB, all right", VOLUME_BYTES >> 20), VOLUME_BYTES);
        Ok(())
    }

    fn check(&mut self, ledger: Ledger) -> Result<Ledger, Refusal> {
        let load = Load::start(&self.at, ledger, Task::Check);
        if !load.wait(Duration::from_secs(60), STUCK_AFTER).map_err(failed)? {
            return Err(failed("the volume could not be read within 60 s"));
        }
        let right = load.counters().verified.load(Ordering::Relaxed);
        let ledger = load.join(STUCK_AFTER).map_err(failed)?;
        if right != VOLUME_BYTES {
            return Err(failed(format!("{right} bytes were verified and the volume has {VOLUME_BYTES}")));
        }
        Ok(ledger)
    }

    /// The deliberate fault: another client changes one byte, as a broken disk that nobody checks would.
    fn flip_byte(&mut self) -> Result<(), Refusal> {
        let broken = |e: &dyn std::fmt::Display| failed(format!("the deliberate fault could not be planted: {e}"));
        let mut client = Client::connect_unix(&self.at.socket, self.at.id).map_err(|e| broken(&e))?;
        let at = (self.at.seed % self.at.blocks) * BLOCK_BYTES as u64;
        let mut block = client.read(at, BLOCK_BYTES as u32).map_err(|e| broken(&e))?;
        block[17] ^= 1;
        client.write(at, &block).map_err(|e| broken(&e))?;
        client.disconnect().map_err(|e| broken(&e))?;
        self.report.planted = true;
        self.report.tell("(on purpose: somebody changed one bit of the volume)");
        Ok(())
    }

    /// The deliberate fault: one copy is left, and no node that could take another.
    fn lose_two(&mut self, load: &Load) -> Result<(), Refusal> {
        let (primary, _) = self.region.members(self.volume)?;
        let entries = self.region.entries()?;
        let lost: Vec<String> = entries
            .zones
            .iter()
            .flat_map(|z| &z.nodes)
            .map(|n| n.id.clone())
            .filter(|id| *id != primary.to_string())
            .collect();
        self.report.tell(&format!("(on purpose: kill -9 of {} for good; only {primary} is left)", lost.join(", ")));
        lost.iter().try_for_each(|id| self.region.kill(id))?;
        self.report.planted = true;
        self.flow(load, STUCK_AFTER * 2)
    }
}

fn micros(d: Duration) -> u64 {
    d.as_micros() as u64
}

/// Of durations in order.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let samples: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&samples, 50), Duration::from_millis(101));
        assert_eq!(percentile(&samples, 99), Duration::from_millis(199));
        assert_eq!(percentile(&samples, 100), Duration::from_millis(200));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
