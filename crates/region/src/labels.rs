//! Labels that owners give their volumes. A request changes all that it names or nothing.

use crate::command::Change;
use crate::records::{Key, Tag};
use crate::{Account, Answer, Effect, Refusal, Region};
use alloc::vec::Vec;
use base::VolumeId;

impl Region {
    pub(crate) fn tag(&mut self, ticket: u64, account: Account, volumes: &[VolumeId], changes: &[Change]) {
        let mut changed = Vec::new();
        for id in volumes {
            let Some(volume) = self.volume(account, *id) else {
                return self.reply(ticket, Err(Refusal::NoSuchVolume(*id)));
            };
            let tags = applied(&volume.tags, changes);
            let max = self.policy.tags_max;
            if tags.len() > max {
                return self.reply(ticket, Err(Refusal::TooManyTags { volume: *id, max }));
            }
            if tags != volume.tags {
                changed.push((*id, tags));
            }
        }
        for (id, tags) in changed {
            self.volumes.get_mut(&id).expect("it was just there").tags = tags;
            self.truth.touch(Key::Volume(id));
        }
        self.after(Effect::Answer(ticket, Answer::Done));
    }
}

/// Labels after changes, in order of their keys.
pub(crate) fn applied(tags: &[Tag], changes: &[Change]) -> Vec<Tag> {
    let mut tags = tags.to_vec();
    for change in changes {
        match change {
            Change::Set(tag) => match tags.binary_search_by(|other| other.key.cmp(&tag.key)) {
                Ok(at) => tags[at] = tag.clone(),
                Err(at) => tags.insert(at, tag.clone()),
            },
            Change::RemoveAll => tags.clear(),
            Change::Remove { key, value } => {
                tags.retain(|tag| tag.key != *key || value.as_ref().is_some_and(|value| *value != tag.value));
            }
        }
    }
    tags
}
