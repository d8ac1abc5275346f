//! Making volumes larger. The last shard grows as far as a shard may, and new ones are placed for the rest: all of it is one write of the metadata store, so
//! a volume has the old size or the new one. A request that came twice is one change.
//!
//! A shard grows with a new epoch of the same members: whoever is in it knows the size before anything is written in it, as it knows who leads. So a copy
//! that is missing, being filled or elsewhere needs no rule of its own. Its other shards only remember how large the volume is.
//!
//! A volume never becomes smaller: what lies beyond the new end would be lost, and nobody here knows whether that is wanted.

use crate::asks::Stage;
use crate::records::{Key, VolumeRecord, newborn};
use crate::volumes::bytes_of;
use crate::{Effect, Zone};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::size::Size;
use base::{BLOCK_BYTES, Layout, Member, ShardId, VolumeId};
use wire::ErrorCode;

impl Zone {
    pub(crate) fn resize_volume(&mut self, ticket: u64, id: VolumeId, size: u64) {
        let Some(volume) = self.volumes.get(&id).filter(|v| !v.deleted).cloned() else {
            return self.no_such_volume(ticket, id);
        };
        if size != volume.info.size {
            let wrong = self.wrong_size(size, volume.info.shard_blocks).or_else(|| {
                let is = volume.info.size;
                (size < is).then(|| {
                    format!(
                        "{id} has {} and cannot become smaller, as {} would be; make a smaller volume and copy what is needed",
                        Size(is),
                        Size(size)
                    )
                })
            });
            if let Some(text) = wrong {
                return self.fail(ticket, ErrorCode::Invalid, text);
            }
            if let Some(point) = volume.making() {
                let text =
                    format!("{point} of {id} is being made, with the shards that there are; try again in a second");
                return self.fail(ticket, ErrorCode::Unavailable, text);
            }
            let layout = Layout { blocks: size / BLOCK_BYTES as u64, shard_blocks: volume.info.shard_blocks };
            match self.place_growth(&volume, layout) {
                Ok(placed) => self.grow(&volume, layout, placed),
                Err((code, text)) => return self.fail(ticket, code, text),
            }
        }
        self.answer_after(ticket, Effect::Resized { ticket, volume: id, size });
    }

    /// Members for each new shard, when the last of those there are has the room to grow; or why not. Nothing is changed.
    fn place_growth(&mut self, volume: &VolumeRecord, layout: Layout) -> Result<Vec<Vec<Member>>, (ErrorCode, String)> {
        let last = ShardId { volume: volume.info.volume, index: volume.shards - 1 };
        let record = self.shards[&last].record.clone();
        // What has a frozen point counts twice.
        let times = self.ledger.times(last.volume);
        let more = bytes_of(layout.blocks_of(last.index) - record.config.blocks) * times;
        // Whoever is named has the shard, or is to have it again.
        for member in record.named() {
            let Some(limit) = self.limit_of(member) else { continue };
            let free = limit.saturating_sub(self.ledger.taken(member));
            if free < more {
                let text = format!(
                    "no room for {} more: the last shard of {} grows by {} on each of its nodes, and {} has {} of {} left; \
                     delete volumes, or drain {} so that its copy is made again where there is room, and try again",
                    Size((layout.blocks * BLOCK_BYTES as u64) - volume.info.size),
                    volume.info.volume,
                    Size(more),
                    member.node,
                    Size(free),
                    Size(limit),
                    member.node
                );
                return Err((ErrorCode::NoRoom, text));
            }
        }
        let mut candidates = self.fast_candidates(usize::from(volume.copies));
        let named = candidates.iter_mut().filter(|c| record.names(c.member));
        named.for_each(|c| c.taken += more);
        let parts = (volume.shards..layout.shards() as u32).map(|index| bytes_of(layout.blocks_of(index)) * times);
        let parts: Vec<u64> = parts.collect();
        let mut placing = self.placing.clone();
        let placed = self.place_shards(&mut placing, candidates, &parts, volume.copies);
        self.placing = placing;
        placed
    }

    /// Bytes that may be promised on a disk; none when it is gone, or its node.
    pub(crate) fn limit_of(&self, member: Member) -> Option<u64> {
        let node = self.nodes.get(&member.node).filter(|n| n.record.store == member.store)?;
        Some(self.policy.promised_of(node.record.capacity))
    }

    fn grow(&mut self, volume: &VolumeRecord, layout: Layout, placed: Vec<Vec<Member>>) {
        let id = volume.info.volume;
        for index in 0..volume.shards {
            self.change(ShardId { volume: id, index }, |r| r.lay_out(layout));
        }
        let min = self.shards[&ShardId { volume: id, index: 0 }].config().min_copies;
        for (index, members) in (volume.shards..).zip(placed) {
            let primary = self.least_leading(&members);
            let mut record = newborn(ShardId { volume: id, index }, layout, members, primary, min);
            // It is born into the attachment that the others are in.
            record.config.generation = volume.generation;
            if let Some(attached) = volume.attached {
                record.config.client = Some(attached.host);
                record.served_by.push(primary);
            }
            self.add_shard(record);
        }
        let record = self.volumes.get_mut(&id).expect("it was found above");
        record.info.size = layout.blocks * BLOCK_BYTES as u64;
        record.shards = layout.shards() as u32;
        self.truth.touch(Key::Volume(id));
        if let Some(attached) = volume.attached {
            self.after(Effect::Greet { host: attached.host, volume: id });
        }
    }

    /// The size is durable, and the host told: from now on it is waited for, so that whoever connects after the answer finds the new size.
    pub(crate) fn await_grown(&mut self, ticket: u64, volume: VolumeId, size: u64) {
        let (since, until) = (self.now, self.now + self.policy.detach_timeout.min(self.patience(ticket)));
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.stage = Stage::Growing { volume, size, since, until };
            self.check_grown(ticket);
        }
    }

    /// Answers when the host has taken the size. One that is not connected, or has not said what it has open, may be on its way, since the authority or the host
    /// may have just started; it is waited for as long as a detach waits, and told when it comes.
    pub(crate) fn check_grown(&mut self, ticket: u64) {
        let now = self.now;
        let Some(Stage::Growing { volume, size, since, until }) = self.asks.get(&ticket).map(|a| a.stage.clone())
        else {
            return;
        };
        let attached = self.volumes.get(&volume).and_then(|v| v.attached.map(|a| (a.host, v.generation)));
        let Some((host, generation)) = attached else { return self.show_volume(ticket, volume) };
        let connected = self.hosts.get(&host).filter(|h| h.registered && h.open.get(&volume) == Some(&generation));
        let has = connected.map(|h| h.sizes.get(&volume).copied().unwrap_or_default());
        let patience = since + self.patience(ticket);
        match has {
            Some(has) if has >= size => self.show_volume(ticket, volume),
            _ if now < until => {}
            None => self.show_volume(ticket, volume),
            Some(_) if now < patience => {
                let ask = self.asks.get_mut(&ticket).expect("it was found above");
                ask.stage = Stage::Growing { volume, size, since, until: patience };
            }
            Some(_) => {
                let ms = self.patience(ticket).as_millis();
                let text = format!(
                    "{volume} has {} now, and {host}, which has it, has not taken that within {ms} ms; ask again to wait on",
                    Size(size)
                );
                self.fail(ticket, ErrorCode::TimedOut, text);
            }
        }
    }
}
