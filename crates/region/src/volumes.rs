//! Making and deleting volumes.
//!
//! ```text
//!  asked --(durable)--> Reserving --(zone has it, durable)--> There --(asked, durable)--> Deleting --(zone has it back, durable)--> Gone
//!                           |
//!                           '--(zone refuses, durable)--> nothing, and its token with it: it may be asked again
//! ```
//!
//! The volume's id is drawn here and is the name of the request to the zone, so whoever dies in between, the next one asks for the same volume. A volume that is
//! gone is kept for as long as a token names it: who asks again is told what became of it and makes no second one.

use crate::ZoneNumber;
use crate::records::{AttachStage, Key, Made, ModifyStage, Shape, Stage, TOKEN_BYTES_MAX, Tag, Volume};
use crate::zones::Need;
use crate::{Account, Answer, Change, Class, Effect, Mechanism, Refusal, Region, Token, Waiting};
use alloc::string::String;
use alloc::vec::Vec;
use base::codec::Malformed;
use base::io::net::{Event, Lane, Peer, Side};
use base::mutant::Mutant;
use base::time::Duration;
use base::{HostId, VolumeId};
use wire::{AttachVolume, DeleteVolume, ErrorCode, MakeVolume, Message, ReleaseVolume, ResizeVolume, ThrottleVolume};

/// What a zone could not do now is asked again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Region {
    pub(crate) fn create_volume(
        &mut self,
        ticket: u64,
        (owner, token): (Account, Option<Token>),
        shape: Shape,
        tags: Vec<Tag>,
        made_at_ms: u64,
    ) {
        self.forget_tokens(made_at_ms);
        let name = token.as_ref().map(|token| (owner, token.text.clone()));
        if let (Some(name), Some(token)) = (&name, &token)
            && let Some(made) = self.tokens.get(name)
        {
            let (volume, same) = (made.volume, made.digest == token.digest);
            return if same { self.tell_again(ticket, volume) } else { self.reply(ticket, Err(Refusal::TokenTaken)) };
        }
        if let Err(why) = self.may_create(owner, &shape, tags.len()) {
            return self.reply(ticket, Err(why));
        }
        let (id, zone) = (self.new_id(), shape.zone);
        if let (Some(name), Some(token)) = (name, &token) {
            assert!(token.text.len() <= TOKEN_BYTES_MAX, "a token of {} bytes", token.text.len());
            let made = Made { volume: id, digest: token.digest, at_ms: made_at_ms };
            self.truth.touch(Key::Token(name.0, name.1.clone()));
            self.token_ages.insert((made_at_ms, name.0, name.1.clone()));
            self.tokens.insert(name, made);
        }
        let token = token.map(|token| token.text);
        let tags = crate::labels::applied(&[], &tags.into_iter().map(Change::Set).collect::<Vec<_>>());
        let (attachment, modification, resumes_by_itself) = (None, None, false);
        let volume = Volume {
            id,
            owner,
            shape,
            made_at_ms,
            stage: Stage::Reserving,
            tags,
            token,
            attachment,
            modification,
            resumes_by_itself,
        };
        *self.owned.entry(owner).or_default() += 1;
        self.volumes.insert(id, volume);
        self.truth.touch(Key::Volume(id));
        self.wait(ticket, id, (zone, Class::Make));
        // Not before it is known here: what a zone may have room reserved for is never forgotten.
        self.after(Effect::Pursue(id));
    }

    fn may_create(&mut self, owner: Account, shape: &Shape, tags: usize) -> Result<(), Refusal> {
        if !self.zones.has(shape.zone) {
            return Err(Refusal::NoSuchZone);
        }
        let max = self.policy.volumes_max;
        if self.owned.get(&owner).is_some_and(|has| *has >= max) {
            return Err(Refusal::TooManyVolumes { max });
        }
        assert!(tags <= self.policy.tags_max, "whoever asks has counted the labels");
        self.admit(shape.zone, Class::Make)
    }

    /// An id that no volume has that is known here.
    fn new_id(&mut self) -> VolumeId {
        loop {
            let id = VolumeId(self.naming.u64());
            if id.0 != 0 && !self.volumes.contains_key(&id) {
                return id;
            }
        }
    }

    /// Somebody waits for a zone's word on a volume.
    fn wait(&mut self, ticket: u64, volume: VolumeId, (zone, class): (ZoneNumber, Class)) {
        let until = self.until;
        let waiting = self.waiting.entry(volume).or_insert(Waiting { zone, class, tickets: Vec::new() });
        waiting.tickets.push((until, ticket));
        if self.policy.has(Mechanism::Deadline) {
            self.late.insert((until, ticket, volume));
            self.zones.is_awaited(volume, Some(until));
        }
        self.zones.begins_to_wait(zone, class);
    }

    /// A request came again whose volume there is already, or soon.
    fn tell_again(&mut self, ticket: u64, id: VolumeId) {
        let Some(volume) = self.volumes.get(&id) else {
            // Its token would have gone with it.
            return self.reply(ticket, Err(Refusal::NoSuchVolume(id)));
        };
        let (zone, stage, told) = (volume.shape.zone, volume.stage, volume.clone());
        if stage != Stage::Reserving {
            return self.after(Effect::Answer(ticket, Answer::Volume(told)));
        }
        if let Err(why) = self.admit(zone, Class::Make) {
            return self.reply(ticket, Err(why));
        }
        self.wait(ticket, id, (zone, Class::Make));
    }

    pub(crate) fn delete_volume(&mut self, ticket: u64, account: Account, id: VolumeId) {
        let (stage, zone, attached) = match self.volume(account, id) {
            None => return self.reply(ticket, Err(Refusal::NoSuchVolume(id))),
            Some(volume) => (volume.stage, volume.shape.zone, volume.attachment.as_ref().map(|a| a.host)),
        };
        if let Some(host) = attached {
            return self.reply(ticket, Err(Refusal::Attached { volume: id, host }));
        }
        if stage == Stage::Reserving {
            return self.reply(ticket, Err(Refusal::NotNow { volume: id, stage }));
        }
        if let Err(why) = self.admit(zone, Class::Take) {
            return self.reply(ticket, Err(why));
        }
        self.wait(ticket, id, (zone, Class::Take));
        if stage != Stage::Deleting {
            self.set(id, Stage::Deleting);
            self.after(Effect::Pursue(id));
        }
    }

    /// Asks the zone for what the volume wants of it.
    pub(crate) fn pursue(&mut self, id: VolumeId) {
        // What it wants now may be decided and not durable yet: a zone that was told of it would know what the region may forget.
        if self.is_undurable(id) {
            return self.after(Effect::Pursue(id));
        }
        let Some(volume) = self.volumes.get(&id) else { return };
        if let Some(need) = need(volume, None) {
            let until = self.waiting.get(&id).and_then(|waiting| waiting.tickets.last()).map(|(until, _)| *until);
            let until = until.filter(|_| self.policy.has(Mechanism::Deadline));
            self.zones.want((volume.shape.zone, need), id, wish(volume, need), self.now, until);
        }
    }

    fn is_undurable(&self, id: VolumeId) -> bool {
        self.truth.is_pending(&Key::Volume(id)) && !self.policy.mutation.is(Mutant::UndurableIsSaid)
    }

    /// Asks again after a while for what could not be done now; before that for anything else that the volume wants.
    pub(crate) fn later(&mut self, id: VolumeId, refused: Need) {
        if self.is_undurable(id) {
            return self.after(Effect::Pursue(id));
        }
        let Some(volume) = self.volumes.get(&id) else { return };
        if let Some(need) = need(volume, Some(refused)) {
            self.zones.later((volume.shape.zone, need), id, wish(volume, need), self.now + AGAIN_AFTER);
        }
    }

    pub(crate) fn zone_event(&mut self, event: Event) {
        match event {
            Event::Up { link } if link.side == Side::Opened && link.lane == Lane::Data => {
                self.zones.on_link(link.peer, true, self.now);
            }
            Event::Down { link, .. } if link.side == Side::Opened && link.lane == Lane::Data => {
                self.zones.on_link(link.peer, false, self.now);
            }
            Event::Frame { from, frame } if from.side == Side::Opened => {
                if let Ok(Message::Outcome(m)) = Message::decode(&frame) {
                    self.outcome(from.peer, m);
                }
            }
            _ => {}
        }
    }

    fn outcome(&mut self, peer: Peer, outcome: wire::Outcome) {
        let message = Message::from_parts(outcome.kind, outcome.fields);
        if let Ok(Message::Surveyed(survey)) = &message {
            if let Some(zone) = self.zones.on_survey(peer, outcome.ticket, self.now) {
                self.surveyed(zone, survey);
            }
            return;
        }
        let Some((id, need)) = self.zones.on_outcome(peer, outcome.ticket, self.now) else { return };
        match need {
            Need::Make => self.on_made(id, message),
            Need::Delete => self.on_deleted(id, message),
            Need::Attach => self.on_attached(id, message),
            Need::Detach => self.on_detached(id, message),
            Need::Grow => self.on_grown(id, message),
            Need::Throttle => self.on_throttled(id, message),
        }
    }

    fn on_made(&mut self, id: VolumeId, outcome: Result<Message, Malformed>) {
        match outcome {
            Ok(Message::VolumeReply(_)) => self.is_there(id),
            Ok(Message::Failed(m)) => match m.code {
                // The zone knows no request of this id, and has no room, or none for this shape.
                ErrorCode::NoRoom => self.is_refused(id, Refusal::NoRoom(m.text)),
                ErrorCode::Invalid => self.is_refused(id, Refusal::Zone(m.text)),
                // Whether it was done when it was said before, this does not tell.
                _ => self.is_called_off(id, Refusal::Zone(m.text)),
            },
            _ => self.later(id, Need::Make),
        }
    }

    fn on_deleted(&mut self, id: VolumeId, outcome: Result<Message, Malformed>) {
        match outcome {
            Ok(Message::VolumeReply(_)) => self.is_gone(id),
            Ok(Message::Failed(m)) if m.code == ErrorCode::NotFound => self.is_gone(id),
            // A host has it, so it stays. Whoever was told nothing yet is told that.
            Ok(Message::Failed(m)) if m.code == ErrorCode::InUse => {
                self.set(id, Stage::There);
                self.after(Effect::Tell(id, Err(Refusal::InUse { volume: id, why: m.text })));
                // What else was wanted of it goes on.
                self.after(Effect::Pursue(id));
            }
            // It is taken back some time: nobody can have it any more.
            _ => self.later(id, Need::Delete),
        }
    }

    fn set(&mut self, id: VolumeId, stage: Stage) {
        self.volumes.get_mut(&id).expect("it was just there").stage = stage;
        self.truth.touch(Key::Volume(id));
    }

    fn is_there(&mut self, id: VolumeId) {
        self.set(id, Stage::There);
        let told = self.volumes[&id].clone();
        self.after(Effect::Tell(id, Ok(Answer::Volume(told))));
    }

    /// The zone will not have it, and has reserved nothing: there never was such a volume, and its request may be made again.
    fn is_refused(&mut self, id: VolumeId, why: Refusal) {
        self.drop_token(id);
        self.drop_volume(id);
        self.after(Effect::Tell(id, Err(why)));
    }

    /// The zone did not do it now. It is not waited for, and whatever there may be of it is taken back.
    fn is_called_off(&mut self, id: VolumeId, why: Refusal) {
        self.drop_token(id);
        self.set(id, Stage::Deleting);
        self.after(Effect::Tell(id, Err(why)));
        self.after(Effect::Pursue(id));
    }

    /// The name of the request that made a volume, as long as it is remembered.
    fn token_of(&self, id: VolumeId) -> Option<(Account, String)> {
        let volume = self.volumes.get(&id)?;
        let name = (volume.owner, volume.token.clone()?);
        self.tokens.get(&name).is_some_and(|made| made.volume == id).then_some(name)
    }

    pub(crate) fn drop_token(&mut self, id: VolumeId) {
        let Some(name) = self.token_of(id) else { return };
        if let Some(made) = self.tokens.remove(&name) {
            self.token_ages.remove(&(made.at_ms, name.0, name.1.clone()));
        }
        self.truth.touch(Key::Token(name.0, name.1));
    }

    fn is_gone(&mut self, id: VolumeId) {
        let told = self.volumes[&id].clone();
        if self.token_of(id).is_some() {
            self.disown(id);
            self.set(id, Stage::Gone);
        } else {
            self.drop_volume(id);
        }
        self.after(Effect::Tell(id, Ok(Answer::Volume(told))));
    }

    fn disown(&mut self, id: VolumeId) {
        let owner = self.volumes[&id].owner;
        if let Some(has) = self.owned.get_mut(&owner) {
            *has -= 1;
            if *has == 0 {
                self.owned.remove(&owner);
            }
        }
    }

    pub(crate) fn drop_volume(&mut self, id: VolumeId) {
        if self.volumes[&id].stage != Stage::Gone {
            self.disown(id);
        }
        self.volumes.remove(&id);
        self.truth.touch(Key::Volume(id));
    }

    /// Whoever waits for the volume is told.
    pub(crate) fn tell(&mut self, id: VolumeId, result: &Result<Answer, Refusal>) {
        let Some(waiting) = self.waiting.remove(&id) else { return };
        for (until, ticket) in waiting.tickets {
            self.late.remove(&(until, ticket, id));
            self.zones.waits_no_more(waiting.zone, waiting.class);
            self.reply(ticket, result.clone());
        }
    }

    /// Forgets tokens that nobody sends any more, and the volumes that only they named.
    fn forget_tokens(&mut self, now_ms: u64) {
        let old = now_ms.saturating_sub(self.policy.tokens_kept_ms);
        while let Some((_, owner, text)) = self.token_ages.first().filter(|(at_ms, ..)| *at_ms < old).cloned() {
            let Some(made) = self.tokens.get(&(owner, text)) else { unreachable!("an age of no token") };
            let id = made.volume;
            // A volume that is not settled keeps its own: an answer to it may still be asked for.
            if self.volumes.get(&id).is_some_and(|volume| volume.stage == Stage::Reserving) {
                return;
            }
            self.drop_token(id);
            if self.volumes.get(&id).is_some_and(|volume| volume.stage == Stage::Gone) {
                self.drop_volume(id);
            }
        }
    }
}

/// What a volume wants of its zone: the first need behind `after`, in a circle, so that one that cannot be met now does not keep others waiting.
pub(crate) fn need(volume: &Volume, after: Option<Need>) -> Option<Need> {
    let mut needs = Vec::new();
    match volume.stage {
        Stage::Reserving => needs.push(Need::Make),
        Stage::Deleting => needs.push(Need::Delete),
        Stage::Gone => {}
        Stage::There => {
            needs.extend(volume.modification.as_ref().and_then(|m| match m.stage {
                ModifyStage::Growing => Some(Need::Grow),
                ModifyStage::Throttling => Some(Need::Throttle),
                ModifyStage::Completed | ModifyStage::Failed => None,
            }));
            needs.extend(volume.attachment.as_ref().and_then(|a| match a.stage {
                AttachStage::Attaching => Some(Need::Attach),
                AttachStage::Detaching => Some(Need::Detach),
                AttachStage::Attached => None,
            }));
        }
    }
    let behind = after.and_then(|after| needs.iter().position(|need| *need == after)).map_or(0, |at| at + 1);
    needs.get(behind).or(needs.first()).copied()
}

/// How a need of a volume is said.
fn wish(volume: &Volume, need: Need) -> Message {
    let Volume { id: volume, shape, attachment, modification, .. } = volume;
    let to = modification.as_ref().map(|m| &m.to);
    match need {
        Need::Make => {
            let (size, copies, throttle) = (shape.size, shape.copies, shape.throttle);
            MakeVolume { volume: *volume, size, copies, throttle }.into()
        }
        Need::Delete => DeleteVolume { volume: *volume }.into(),
        Need::Grow => ResizeVolume { volume: *volume, size: to.map_or(shape.size, |to| to.size) }.into(),
        Need::Throttle => {
            let throttle = to.map_or(shape.throttle, |to| to.throttle);
            let (iops, bytes_per_s) = (Some(throttle.iops), Some(throttle.bytes_per_s));
            ThrottleVolume { volume: *volume, iops, bytes_per_s }.into()
        }
        Need::Attach => {
            let host = attachment.as_ref().map(|a| a.host);
            AttachVolume { volume: *volume, host, read_only: false }.into()
        }
        Need::Detach => {
            let (host, by_force) = attachment.as_ref().map_or((HostId(0), false), |a| (a.host, a.by_force));
            ReleaseVolume { volume: *volume, host, by_force }.into()
        }
    }
}
