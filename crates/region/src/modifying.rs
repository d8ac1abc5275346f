//! Volumes become larger, and may do more or less, while they are used.
//!
//! ```text
//!  asked --(durable)--> Growing --(the zone has it, durable)--> Throttling --(the zone has it, durable)--> Completed
//!                          '---------------(the zone refuses, durable)-------'-----------------------------> Failed
//! ```
//!
//! First the room, which a zone may refuse, then what it may do. A change that failed half way leaves a larger volume, which is said so.

use crate::records::{Key, Modification, ModifyStage, Quality, Stage, Volume};
use crate::zones::Need;
use crate::{Account, Answer, Effect, Refusal, Region};
use alloc::string::String;
use base::VolumeId;
use base::codec::Malformed;
use wire::{ErrorCode, Message};

impl Region {
    pub(crate) fn modify_volume(&mut self, ticket: u64, (account, id): (Account, VolumeId), to: Quality, at_ms: u64) {
        let Some(volume) = self.volume(account, id) else {
            return self.reply(ticket, Err(Refusal::NoSuchVolume(id)));
        };
        if let Err(why) = may_modify(volume, &to) {
            return self.reply(ticket, Err(why));
        }
        let shape = &volume.shape;
        let from = Quality { size: shape.size, throttle: shape.throttle, label: shape.label.clone() };
        let stage = if to.size > from.size { ModifyStage::Growing } else { ModifyStage::Throttling };
        let modification = Modification { from, to, stage, at_ms, ended_ms: 0, why: String::new() };
        self.set_modification(id, modification.clone());
        self.after(Effect::Answer(ticket, Answer::Modification(id, modification)));
        self.after(Effect::Pursue(id));
    }

    pub(crate) fn on_grown(&mut self, id: VolumeId, outcome: Result<Message, Malformed>) {
        let Some(modification) = self.modification_at(id, ModifyStage::Growing) else { return };
        match outcome {
            Ok(Message::VolumeReply(_)) => {
                let size = modification.to.size;
                self.volumes.get_mut(&id).expect("it was just there").shape.size = size;
                self.set_modification(id, Modification { stage: ModifyStage::Throttling, ..modification });
                self.after(Effect::Pursue(id));
            }
            other => self.not_modified(id, Need::Grow, modification, other),
        }
    }

    pub(crate) fn on_throttled(&mut self, id: VolumeId, outcome: Result<Message, Malformed>) {
        let Some(modification) = self.modification_at(id, ModifyStage::Throttling) else { return };
        match outcome {
            Ok(Message::VolumeReply(_)) => {
                let ended_ms = self.wall_ms();
                let shape = &mut self.volumes.get_mut(&id).expect("it was just there").shape;
                (shape.throttle, shape.label) = (modification.to.throttle, modification.to.label.clone());
                self.set_modification(id, Modification { stage: ModifyStage::Completed, ended_ms, ..modification });
                self.after(Effect::Pursue(id));
            }
            other => self.not_modified(id, Need::Throttle, modification, other),
        }
    }

    fn not_modified(&mut self, id: VolumeId, need: Need, was: Modification, outcome: Result<Message, Malformed>) {
        match outcome {
            Ok(Message::Failed(m))
                if matches!(m.code, ErrorCode::NoRoom | ErrorCode::Invalid | ErrorCode::NotFound) =>
            {
                let (stage, ended_ms) = (ModifyStage::Failed, self.wall_ms());
                self.set_modification(id, Modification { stage, ended_ms, why: m.text, ..was });
                self.after(Effect::Pursue(id));
            }
            _ => self.later(id, need),
        }
    }

    fn modification_at(&self, id: VolumeId, stage: ModifyStage) -> Option<Modification> {
        let at = |volume: &Volume| volume.modification.clone().filter(|modification| modification.stage == stage);
        self.volumes.get(&id).filter(|volume| volume.stage == Stage::There).and_then(at)
    }

    fn set_modification(&mut self, id: VolumeId, modification: Modification) {
        self.volumes.get_mut(&id).expect("it was just there").modification = Some(modification);
        self.truth.touch(Key::Volume(id));
    }
}

fn may_modify(volume: &Volume, to: &Quality) -> Result<(), Refusal> {
    let busy = |m: &Modification| matches!(m.stage, ModifyStage::Growing | ModifyStage::Throttling);
    if volume.stage != Stage::There {
        Err(Refusal::NotNow { volume: volume.id, stage: volume.stage })
    } else if volume.modification.as_ref().is_some_and(busy) {
        Err(Refusal::Modifying(volume.id))
    } else if to.size < volume.shape.size {
        Err(Refusal::Shrinks { volume: volume.id, size: volume.shape.size })
    } else {
        Ok(())
    }
}
