//! How full is what others can fill in a host: requests of its front ends, and the messages that these need.

use crate::machine::{Host, STRAY_REQUESTS_MAX};
use base::VolumeId;
use base::bounded::Fill;

impl Host {
    /// Says of each what it holds and what it may hold; of volumes with their id, of itself without.
    pub fn fills(&self, tell: &mut dyn FnMut(Option<VolumeId>, Fill)) {
        let (policy, volumes) = (self.policy(), self.held());
        let most = STRAY_REQUESTS_MAX + volumes.len() * policy.requests_max;
        tell(None, Fill { what: "requests that were just submitted", now: self.submitted(), most });
        for (&id, volume) in volumes {
            volume.fills(policy, &mut |fill| tell(Some(id), fill));
        }
    }
}
