//! A host: one write and one read at a time, each sent again under a newer epoch until it is answered, and answers of its epoch alone believed (rule 8, I8).

use super::disk::Value;
use super::local::{SHARD, block_of};
use base::{Configuration, Generation, HostId};
use wire::{Message, Refusal};

/// What it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Io {
    /// Its number; of a write also what it writes.
    pub io: u64,
    /// The epoch under which it was last sent.
    pub epoch: u64,
    /// What a read must not be older than.
    pub floor: Value,
}

/// One host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Host {
    pub id: u64,
    pub generation: u64,
    /// The configuration that it knows: its epoch, and where its primary is.
    pub epoch: u64,
    pub primary: usize,
    /// The number of its next write.
    pub next: Value,
    /// Writes and reads that it may still begin.
    pub writes: u8,
    pub reads: u8,
    pub write: Option<Io>,
    pub read: Option<Io>,
    /// What it sent and has not arrived: to which node, and the message by number.
    pub flights: Vec<(usize, u32)>,
}

/// Numbers of reads lie beyond those of writes.
pub const FIRST_READ: u64 = 100;

impl Host {
    pub fn id(&self) -> HostId {
        HostId(self.id)
    }

    /// It hears of a configuration.
    pub fn learn(&mut self, config: &Configuration) -> bool {
        let newer = config.epoch.0 > self.epoch && config.client == Some(self.id());
        if newer {
            (self.epoch, self.generation) = (config.epoch.0, config.generation.0);
            self.primary = super::local::place(config.primary);
        }
        newer
    }

    /// Begins a write.
    pub fn begin_write(&mut self, blocks: u32) -> (Message, Value) {
        let value = self.next;
        (self.writes, self.next) = (self.writes - 1, value + 1);
        self.write = Some(Io { io: u64::from(value), epoch: 0, floor: 0 });
        self.send_write(blocks)
    }

    /// Sends it, or sends it again.
    pub fn send_write(&mut self, blocks: u32) -> (Message, Value) {
        let io = self.write.as_mut().expect("a write is under way");
        io.epoch = self.epoch;
        let m = wire::Write {
            shard: SHARD,
            epoch: base::Epoch(self.epoch),
            generation: Generation(self.generation),
            io: io.io,
            block: block_of(io.io as Value, blocks),
        };
        (m.into(), io.io as Value)
    }

    pub fn begin_read(&mut self, floor: Value) -> Message {
        self.reads -= 1;
        self.read = Some(Io { io: FIRST_READ * self.id + u64::from(self.reads), epoch: 0, floor });
        self.send_read()
    }

    pub fn send_read(&mut self) -> Message {
        let io = self.read.as_mut().expect("a read is under way");
        io.epoch = self.epoch;
        let (epoch, generation) = (base::Epoch(self.epoch), Generation(self.generation));
        wire::Read { shard: SHARD, epoch, generation, io: io.io, block: 0, count: 1 }.into()
    }

    /// An answer: what it ended, if it was believed.
    pub fn hear(&mut self, message: &Message) -> Option<Io> {
        match message {
            Message::Done(m) if m.epoch.0 == self.epoch => {
                let of = |io: &mut Io| io.io == m.io;
                self.write.take_if(of).or_else(|| self.read.take_if(of))
            }
            Message::Refused(m) => {
                if let Refusal::WrongEpoch { config } | Refusal::NotPrimary { config } = &m.why {
                    self.learn(config);
                }
                None
            }
            _ => None,
        }
    }
}
