//! Making and deleting volumes. A request that is refused has changed nothing; a request that came twice made one volume.

use crate::placement::{Beside, Candidate, TooFew, choose};
use crate::records::{Key, RequestRecord, VolumeRecord, newborn};
use crate::ties::Near;
use crate::{Effect, Zone};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::io::net::Peer;
use base::size::Size;
use base::{BLOCK_BYTES, Generation, Layout, Member, Rng, ShardId, VolumeId};
use wire::{CreateVolume, ErrorCode, Throttle, ThrottleVolume, Throttled, VolumeInfo};

/// Shards of one volume: so many still fit into one message, however they are.
const SHARDS_MAX: u64 = 1024;

impl Zone {
    pub(crate) fn create_volume(&mut self, ticket: u64, m: &CreateVolume, named: Option<VolumeId>) {
        if let Some(made) = self.requests.get(&m.request) {
            let (volume, same) =
                (made.volume, (made.size, made.copies, made.throttle) == (m.size, m.copies, m.throttle));
            if same {
                self.answer_after(ticket, Effect::Show { ticket, volume });
            } else {
                let text = format!(
                    "request {} has already made {volume}, of {} and {} copies, with {} IOPS and {} a second (0: no limit); \
                     use another request id for another volume",
                    m.request,
                    Size(made.size),
                    made.copies,
                    made.throttle.iops,
                    Size(made.throttle.bytes_per_s)
                );
                self.fail(ticket, ErrorCode::Invalid, text);
            }
            return;
        }
        if let Some(id) = named.filter(|id| id.0 == 0 || self.volumes.contains_key(id)) {
            let text = format!("{id} is the id of another volume, or of none; draw another");
            self.fail(ticket, ErrorCode::Invalid, text);
            return;
        }
        let copies = if m.copies == 0 { self.policy.target_copies } else { m.copies };
        if let Some(text) = self.wrong_shape(m.size, copies).or_else(|| wrong_throttle(m.throttle)) {
            self.fail(ticket, ErrorCode::Invalid, text);
            return;
        }
        let layout = Layout { blocks: m.size / BLOCK_BYTES as u64, shard_blocks: self.policy.shard_blocks };
        let parts: Vec<u64> = (0..layout.shards() as u32).map(|index| bytes_of(layout.blocks_of(index))).collect();
        let mut placing = self.placing.clone();
        let placed = self.place_shards(&mut placing, self.fast_candidates(usize::from(copies)), &parts, copies);
        self.placing = placing;
        let placed = match placed {
            Ok(placed) => placed,
            Err((code, text)) => return self.fail(ticket, code, text),
        };
        let volume = named.unwrap_or_else(|| self.new_volume_id());
        let shards = placed.len() as u32;
        for (index, members) in placed.into_iter().enumerate() {
            let shard = ShardId { volume, index: index as u32 };
            let primary = self.least_leading(&members);
            let min = self.policy.min_copies.min(copies);
            self.add_shard(newborn(shard, layout, members, primary, min));
        }
        let info = VolumeInfo { volume, size: m.size, shard_blocks: self.policy.shard_blocks };
        let generation = Generation(0);
        let throttle = m.throttle;
        let record = VolumeRecord {
            info,
            copies,
            shards,
            generation,
            attached: None,
            left: None,
            throttle,
            points: Vec::new(),
            last_point: 0,
            deleted: false,
        };
        self.volumes.insert(volume, record);
        self.requests.insert(m.request, RequestRecord { volume, size: m.size, copies: m.copies, throttle });
        self.truth.touch(Key::Volume(volume));
        self.truth.touch(Key::Request(m.request));
        self.answer_after(ticket, Effect::Throttled { ticket, volume, throttle });
    }

    /// Changes what a volume may do. Asked twice it is one change.
    pub(crate) fn throttle_volume(&mut self, ticket: u64, m: &ThrottleVolume) {
        let id = m.volume;
        let Some(volume) = self.volumes.get_mut(&id).filter(|v| !v.deleted) else {
            return self.no_such_volume(ticket, id);
        };
        let now = volume.throttle;
        let throttle =
            Throttle { iops: m.iops.unwrap_or(now.iops), bytes_per_s: m.bytes_per_s.unwrap_or(now.bytes_per_s) };
        if let Some(text) = wrong_throttle(throttle) {
            return self.fail(ticket, ErrorCode::Invalid, text);
        }
        if throttle != now {
            volume.throttle = throttle;
            self.truth.touch(Key::Volume(id));
        }
        self.answer_after(ticket, Effect::Throttled { ticket, volume: id, throttle });
    }

    /// A throttle is durable: its host obeys it from now on, and people may see it.
    pub(crate) fn throttled(&mut self, ticket: u64, id: VolumeId, throttle: Throttle) {
        self.throttles.insert(id, throttle);
        let host = self.volumes.get(&id).and_then(|v| v.attached).map(|a| a.host);
        if let Some(host) = host.filter(|host| self.hosts.get(host).is_some_and(|h| h.registered)) {
            self.send(Peer::Host(host), Throttled { volume: id, throttle });
        }
        self.show_volume(ticket, id);
    }

    /// What is wrong with a wish for a volume, in words.
    fn wrong_shape(&self, size: u64, copies: u8) -> Option<String> {
        let most = self.policy.copies_max;
        let wrong_copies =
            || format!("a volume has 1 to {most} copies (0 for the zone's own number); {copies} were asked for");
        self.wrong_size(size, self.policy.shard_blocks).or_else(|| (copies > most).then(wrong_copies))
    }

    /// What is wrong with a size, in words.
    pub(crate) fn wrong_size(&self, size: u64, shard_blocks: u32) -> Option<String> {
        let most = self.policy.volume_bytes_max;
        if size == 0 || !size.is_multiple_of(BLOCK_BYTES as u64) {
            return Some(format!(
                "a volume's size is a multiple of {BLOCK_BYTES} bytes and not zero; {size} bytes were asked for"
            ));
        }
        if size > most {
            return Some(format!("a volume has at most {}; {} were asked for", Size(most), Size(size)));
        }
        let each = u64::from(shard_blocks) * BLOCK_BYTES as u64;
        let shards = size.div_ceil(each);
        (shards > SHARDS_MAX).then(|| {
            format!(
                "a volume has at most {SHARDS_MAX} shards, here of {}; {} would be {shards} of them",
                Size(each),
                Size(size)
            )
        })
    }

    /// Members among these for shards of so many bytes; or why there are none.
    pub(crate) fn place_shards(
        &self,
        placing: &mut Rng,
        mut candidates: Vec<Candidate<'_>>,
        parts: &[u64],
        copies: u8,
    ) -> Result<Vec<Vec<Member>>, (ErrorCode, String)> {
        let up = candidates.len();
        if !parts.is_empty() && up < usize::from(copies) {
            let text = format!(
                "{copies} copies need {copies} nodes, and {up} are up; start more nodes or ask for fewer copies"
            );
            return Err((ErrorCode::Unavailable, text));
        }
        let mut placed = Vec::new();
        let near = &mut Near::new(self.ledger.ties(), self.policy.partners);
        for bytes in parts.iter().copied() {
            let beside = Beside { racks: Vec::new(), nodes: Vec::new(), near };
            match choose(placing, &mut candidates, usize::from(copies), bytes, beside) {
                Ok(members) => placed.push(members),
                Err(TooFew { fit }) => {
                    let free: Vec<String> = (self.candidates().iter().take(8))
                        .map(|c| format!("{} {} of {}", c.member.node, Size(c.free()), Size(c.limit)))
                        .collect();
                    let more = if up > 8 { ", ..." } else { "" };
                    let text = format!(
                        "no room for {} in {copies} copies: a part of {} still fits on {fit} of {up} nodes, on different \
                         nodes each; free: {}{more}; add nodes, delete volumes or ask for less",
                        Size(parts.iter().sum()),
                        Size(bytes),
                        free.join(", ")
                    );
                    return Err((ErrorCode::NoRoom, text));
                }
            }
        }
        Ok(placed)
    }

    /// An id that no volume has or had.
    fn new_volume_id(&mut self) -> VolumeId {
        loop {
            let id = VolumeId(self.naming.u64());
            if id.0 != 0 && !self.volumes.contains_key(&id) {
                return id;
            }
        }
    }

    /// Who of them leads the fewest shards.
    pub(crate) fn least_leading(&self, members: &[Member]) -> base::NodeId {
        let leads = |m: &&Member| self.ledger.of(**m).map_or(0, |a| a.primaries);
        members.iter().min_by_key(leads).expect("a shard has a member").node
    }

    pub(crate) fn delete_volume(&mut self, ticket: u64, id: VolumeId) {
        let Some(volume) = self.volumes.get_mut(&id).filter(|_| !gone(&self.shards, id)) else {
            return self.no_such_volume(ticket, id);
        };
        if let Some(attached) = volume.attached {
            let text = format!("{id} is attached to {}; detach it first", attached.host);
            return self.fail(ticket, ErrorCode::InUse, text);
        }
        if !volume.deleted {
            volume.deleted = true;
            let shards = volume.shards;
            self.truth.touch(Key::Volume(id));
            self.drop_points_of_deleted(id);
            for index in 0..shards {
                self.change(ShardId { volume: id, index }, |r| r.delete());
            }
        }
        self.answer_after(ticket, Effect::Show { ticket, volume: id });
    }

    pub(crate) fn no_such_volume(&mut self, ticket: u64, id: VolumeId) {
        self.fail(ticket, ErrorCode::NotFound, format!("there is no volume {id} in this zone"));
    }

    /// The shards of a volume, in order.
    pub(crate) fn shards_of(&self, id: VolumeId) -> impl Iterator<Item = &crate::shards::Shard> {
        let (first, last) = (ShardId { volume: id, index: 0 }, ShardId { volume: id, index: u32::MAX });
        self.shards.range(first..=last).map(|(_, shard)| shard)
    }

    /// Whether a volume is deleted and all that was of it dropped: nobody sees it any more.
    pub(crate) fn is_gone(&self, id: VolumeId) -> bool {
        gone(&self.shards, id)
    }
}

/// What is wrong with a throttle, in words.
fn wrong_throttle(throttle: Throttle) -> Option<String> {
    let least = BLOCK_BYTES as u64;
    (1..least).contains(&throttle.bytes_per_s).then(|| {
        format!(
            "{} a second is less than a block: a bandwidth is at least {}, or none",
            Size(throttle.bytes_per_s),
            Size(least)
        )
    })
}

/// Bytes of so many blocks.
pub(crate) fn bytes_of(blocks: u32) -> u64 {
    u64::from(blocks) * BLOCK_BYTES as u64
}

fn gone(shards: &alloc::collections::BTreeMap<ShardId, crate::shards::Shard>, id: VolumeId) -> bool {
    let (first, last) = (ShardId { volume: id, index: 0 }, ShardId { volume: id, index: u32::MAX });
    shards.range(first..=last).all(|(_, s)| s.config().deleted && s.record.releasing.is_empty())
}
