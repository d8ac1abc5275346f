//! What a run's operators do: volumes are made, attached, moved, and looked at.

use crate::operator::Heard;
use crate::report::Failure;
use crate::run::{MS, Run, S, Task, Verdict};
use crate::script::{Came, Script, Wish};
use crate::shape::log_uniform;
use crate::world::Pid;
use base::time::Duration;
use base::{BLOCK_BYTES, HostId, NodeId, RequestId, VolumeId};

impl Run {
    pub(crate) fn want(&mut self, wish: Wish) {
        self.script.want(wish);
        if self.script.first() == Some(wish) {
            self.ask_authority(false);
        }
    }

    pub(crate) fn ids(&self) -> Vec<Option<VolumeId>> {
        self.clients.iter().map(|client| client.id).collect()
    }

    pub(crate) fn ask_authority(&mut self, again: bool) {
        let Some(wish) = self.script.first() else { return };
        let volume = if let Wish::Create(volume) = wish { volume } else { 0 };
        let shape = &self.clients[usize::from(volume)].shape;
        let (size, copies) = (u64::from(shape.blocks) * BLOCK_BYTES as u64, shape.copies);
        let message = Script::message(wish, &self.ids(), RequestId(u128::from(volume) + 1), size, copies);
        let operator = self.cluster.operator(self.cluster.operator);
        if again {
            operator.hang_up();
        }
        operator.say(message);
        self.cluster.world.poke(self.cluster.operator);
        self.script.asking += 1;
        self.after(S(8), Task::AskAgain(self.script.asking));
    }

    pub(crate) fn operator_heard(&mut self, heard: Heard) -> Verdict {
        let came = match heard {
            Heard::Answer(message) => self.script.read(*message, &self.ids()),
            Heard::LinkLost => Came::Later,
        };
        match came {
            Came::Later if self.script.gives_up() => *self.counts.entry("wish-given-up").or_default() += 1,
            Came::Later => {
                self.script.asking += 1;
                self.after(MS(300), Task::AskAgain(self.script.asking));
                return Ok(());
            }
            Came::Created(volume, id) => self.clients[usize::from(volume)].id = Some(id),
            Came::Attached(_) | Came::Detached(_) | Came::Larger => {}
            // From now on clients use the new part too, where the host knows of it.
            Came::Resized(volume, blocks) => self.clients[usize::from(volume)].shape.blocks = blocks,
            Came::Frozen(volume, point) => {
                *self.counts.entry("point-made").or_default() += 1;
                self.clients[usize::from(volume)].points.push_back(point);
            }
            Came::Drained(_, true) => *self.counts.entry("drain-node").or_default() += 1,
            Came::Drained(..) => self.drained = None,
            Came::Thawed(volume, point) => self.clients[usize::from(volume)].points.retain(|p| *p != point),
            // A point takes as much room as its volume; without any there is room for all that a run does.
            Came::NoRoom(Wish::Freeze(..), _) => *self.counts.entry("no-room-for-a-point").or_default() += 1,
            // All that it has would need a place among nodes that have no copy of it, and there are three nodes in some worlds.
            Came::NoRoom(Wish::Drain(node, _), _) => {
                *self.counts.entry("no-room-for-a-drain").or_default() += 1;
                // It may be drained by now all the same, if the answer to the first asking was lost.
                self.script.want(Wish::Drain(node, false));
            }
            Came::NoRoom(..) if self.counts.contains_key("freeze-volume") || self.drained.is_some() => {}
            Came::NoRoom(wish, text) => return Err(Failure::of(format!("{wish:?} was refused: {text}"))),
            Came::Volumes(volumes) => self.volumes_seen = Some(volumes),
            Came::Nodes(nodes) => self.nodes_seen = Some(nodes),
            Came::Wrong(text) => return Err(Failure::of(text)),
        }
        self.ask_authority(false);
        Ok(())
    }

    pub(crate) fn move_volume(&mut self) {
        let Some(every) = self.shape.move_every.filter(|_| self.faults_on) else { return };
        let (number, happens) = self.disturb();
        if happens {
            let mut rng = self.dice("move", number);
            let volume = rng.below(self.clients.len() as u64) as usize;
            let host = *rng.pick(&self.cluster.hosts).expect("there is a host");
            let idle = self.script.is_done();
            let (now, to) = (self.cluster.world.now(), self.cluster.host_id(host));
            self.cluster.world.trace.tell(now, format_args!("MOVE {number}: volume {volume} goes to {to}"));
            self.begin_move(volume, host);
            if idle {
                self.grow(volume);
                self.freeze(volume);
                self.drain_or_not();
            }
        }
        self.after(every, Task::Move);
    }

    /// Every other time that a volume is moved it also becomes larger, by less than a shard or a little more; some do until they have six of them.
    fn grow(&mut self, volume: usize) {
        let mut rng = self.rng.split(&format!("growth {}", self.script.asking));
        let (shape, each) = (&self.clients[volume].shape, self.shape.shard_blocks);
        let blocks = (shape.blocks + rng.within(1, u64::from(each + each / 4)) as u32).min(6 * each);
        let grown = crate::shape::VolumeShape { blocks, ..shape.clone() };
        if rng.chance(1, 2) && blocks > shape.blocks && grown.grains() < crate::history::GRAINS_MAX {
            *self.counts.entry("resize-volume").or_default() += 1;
            self.want(Wish::Resize(volume as u8, blocks));
        }
    }

    /// Every third time that a volume is moved it is also frozen, and when it has two points the older one is dropped: points stand while all else happens.
    fn freeze(&mut self, volume: usize) {
        let mut rng = self.rng.split(&format!("freeze {}", self.script.asking));
        if !rng.chance(1, 3) {
            return;
        }
        let number = self.counts.entry("freeze-volume").or_default();
        *number += 1;
        // Above those of volumes that are made.
        let request = RequestId(1000 + u128::from(*number));
        self.want(Wish::Freeze(volume as u8, request));
        if self.clients[volume].points.len() > 1 {
            let point = self.clients[volume].points[0];
            self.want(Wish::Thaw(volume as u8, point));
        }
    }

    /// Every third time that a volume is moved a node is drained, or the one that is may have replicas again.
    fn drain_or_not(&mut self) {
        let mut rng = self.rng.split(&format!("drain {}", self.script.asking));
        if !rng.chance(1, 3) {
            return;
        }
        match self.drained {
            Some(node) => self.want(Wish::Drain(node, false)),
            None => {
                let node = NodeId(rng.within(1, self.shape.nodes));
                // From the wish on: faults may end before it comes true.
                self.drained = Some(node);
                self.want(Wish::Drain(node, true));
            }
        }
    }

    pub(crate) fn begin_move(&mut self, volume: usize, host: Pid) {
        if self.script.is_done() {
            let host = self.cluster.host_id(host);
            *self.counts.entry("move-volume").or_default() += 1;
            self.want(Wish::Detach(volume as u8));
            self.want(Wish::Attach(volume as u8, host));
            if self.rng.chance(1, 2) {
                let delay = log_uniform(&mut self.rng, Duration::from_micros(10), MS(500));
                self.after(delay, Task::Hasty(volume as u8, host));
            }
        }
    }

    /// Somebody attaches the volume without waiting until it is known to be detached: only the fence stands between the two hosts.
    pub(crate) fn attach_hastily(&mut self, volume: u8, host: HostId) {
        let message = Script::message(Wish::Attach(volume, host), &self.ids(), RequestId(0), 0, 0);
        self.cluster.operator(self.cluster.hasty).say(message);
        self.cluster.world.poke(self.cluster.hasty);
    }
}
