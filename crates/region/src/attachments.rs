//! Which host has which volume.
//!
//! ```text
//!  asked --(durable)--> Attaching --(the host can use it, durable)--> Attached
//!                           |  ^                                        |
//!                           |  '--(not now: said again)                 |
//!                           |--(the zone refuses, durable)--> none      |asked, durable
//!                           '--------asked, durable------> Detaching <--'
//!                                                              |--(somebody uses it there: said again, unless by force)
//!                                                              '--(the zone has fenced the host off, durable)--> none
//! ```
//!
//! Whoever asks is answered as soon as his wish is durable; that a host is away, or a zone, shows as an attachment that stays where it is.

use crate::records::{AttachStage, Attachment, Key, Stage, Volume};
use crate::zones::Need;
use crate::{Account, Answer, Effect, Refusal, Region};
use alloc::string::String;
use base::codec::Malformed;
use base::{HostId, VolumeId};
use wire::{ErrorCode, Message};

impl Region {
    pub(crate) fn attach_volume(
        &mut self,
        ticket: u64,
        (account, id): (Account, VolumeId),
        host: HostId,
        device: String,
        at_ms: u64,
    ) {
        if let Err(why) = self.may_attach(account, id, host, &device) {
            return self.reply(ticket, Err(why));
        }
        let attachment = Attachment { host, device, stage: AttachStage::Attaching, at_ms, by_force: false };
        self.volumes.get_mut(&id).expect("it was just there").attachment = Some(attachment.clone());
        self.hosts.has(host, id);
        self.truth.touch(Key::Volume(id));
        self.after(Effect::Answer(ticket, Answer::Attachment(id, attachment)));
        self.after(Effect::Pursue(id));
    }

    fn may_attach(&self, account: Account, id: VolumeId, host: HostId, device: &str) -> Result<(), Refusal> {
        let Some(volume) = self.volume(account, id) else { return Err(Refusal::NoSuchVolume(id)) };
        let Some(record) = self.hosts.record(host) else { return Err(Refusal::NoSuchHost(host)) };
        if record.zone != volume.shape.zone {
            return Err(Refusal::OtherZone { volume: id, host });
        }
        if let Some(has) = &volume.attachment {
            return Err(Refusal::Attached { volume: id, host: has.host });
        }
        if volume.stage != Stage::There {
            return Err(Refusal::NotNow { volume: id, stage: volume.stage });
        }
        let there = |id: VolumeId| self.volumes.get(&id).and_then(|volume| volume.attachment.as_ref());
        if self.hosts.volumes_of(host).filter_map(there).any(|other| other.device == device) {
            return Err(Refusal::DeviceTaken { host, device: device.into() });
        }
        let max = self.policy.attachments_max;
        if self.hosts.volumes_of(host).count() >= max {
            return Err(Refusal::TooManyAttached { host, max });
        }
        Ok(())
    }

    pub(crate) fn detach_volume(
        &mut self,
        ticket: u64,
        (account, id): (Account, VolumeId),
        (host, device): (Option<HostId>, Option<&str>),
        by_force: bool,
    ) {
        let Some(volume) = self.volume(account, id) else {
            return self.reply(ticket, Err(Refusal::NoSuchVolume(id)));
        };
        let Some(attachment) = &volume.attachment else {
            return self.reply(ticket, Err(Refusal::NotAttached(id)));
        };
        let meant =
            host.is_none_or(|host| host == attachment.host) && device.is_none_or(|name| name == attachment.device);
        if !meant {
            return self.reply(ticket, Err(Refusal::OtherAttachment(id)));
        }
        let by_force = by_force || attachment.by_force;
        let told = Attachment { stage: AttachStage::Detaching, by_force, ..attachment.clone() };
        if told != *attachment {
            self.set_attachment(id, Some(told.clone()));
            self.after(Effect::Answer(ticket, Answer::Attachment(id, told)));
            self.after(Effect::Pursue(id));
        } else {
            // It is on its way so: asking again changes nothing.
            self.after(Effect::Answer(ticket, Answer::Attachment(id, told)));
        }
    }

    pub(crate) fn on_attached(&mut self, id: VolumeId, outcome: Result<Message, Malformed>) {
        let Some(attachment) = self.attachment_at(id, AttachStage::Attaching) else { return };
        match outcome {
            Ok(Message::AttachReply(_)) => {
                self.set_attachment(id, Some(Attachment { stage: AttachStage::Attached, ..attachment }));
                // What could not be done before may be waiting.
                self.after(Effect::Pursue(id));
            }
            // Somebody else has it, of whom the region does not know; or it can never be.
            Ok(Message::Failed(m)) if matches!(m.code, ErrorCode::InUse | ErrorCode::Invalid) => {
                self.set_attachment(id, None);
                self.after(Effect::Pursue(id));
            }
            // The host or the zone is away: it is attached when they are back.
            _ => self.later(id, Need::Attach),
        }
    }

    pub(crate) fn on_detached(&mut self, id: VolumeId, outcome: Result<Message, Malformed>) {
        if self.attachment_at(id, AttachStage::Detaching).is_none() {
            return;
        }
        match outcome {
            Ok(Message::VolumeReply(_)) => {
                self.set_attachment(id, None);
                self.after(Effect::Pursue(id));
            }
            // Somebody took it away behind the region's back: no host has what there is not.
            Ok(Message::Failed(m)) if m.code == ErrorCode::NotFound => {
                self.set_attachment(id, None);
                self.after(Effect::Pursue(id));
            }
            _ => self.later(id, Need::Detach),
        }
    }

    fn attachment_at(&self, id: VolumeId, stage: AttachStage) -> Option<Attachment> {
        let at = |volume: &Volume| volume.attachment.clone().filter(|attachment| attachment.stage == stage);
        self.volumes.get(&id).and_then(at)
    }

    fn set_attachment(&mut self, id: VolumeId, attachment: Option<Attachment>) {
        let volume = self.volumes.get_mut(&id).expect("it was just there");
        if let (Some(had), None) = (&volume.attachment, &attachment) {
            self.hosts.has_no_more(had.host, id);
        }
        volume.attachment = attachment;
        self.truth.touch(Key::Volume(id));
    }
}
