//! Wishes that are kept and concern no zone: of an account for all its volumes, and of a volume for a case that cannot come here.

use crate::records::{Defaults, Key};
use crate::{Account, Answer, DefaultsChange, Effect, Refusal, Region};
use base::VolumeId;

impl Region {
    /// What an account wants of all its volumes.
    pub fn defaults(&self, account: Account) -> Defaults {
        self.defaults.get(&account).cloned().unwrap_or_default()
    }

    pub(crate) fn set_defaults(&mut self, ticket: u64, account: Account, change: DefaultsChange) {
        let mut defaults = self.defaults(account);
        match change {
            DefaultsChange::Encrypted(on) => defaults.encrypted = on,
            DefaultsChange::Key(key) => defaults.key = key,
        }
        if defaults == Defaults::default() {
            self.defaults.remove(&account);
        } else {
            self.defaults.insert(account, defaults.clone());
        }
        self.truth.touch(Key::Account(account));
        self.after(Effect::Answer(ticket, Answer::Defaults(defaults)));
    }

    pub(crate) fn set_resumes(&mut self, ticket: u64, (account, id): (Account, VolumeId), on: bool) {
        if self.volume(account, id).is_none() {
            return self.reply(ticket, Err(Refusal::NoSuchVolume(id)));
        }
        self.volumes.get_mut(&id).expect("it was just there").resumes_by_itself = on;
        self.truth.touch(Key::Volume(id));
        self.after(Effect::Answer(ticket, Answer::Done));
    }
}
