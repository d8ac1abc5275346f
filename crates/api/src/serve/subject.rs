//! What a question is about, for counts and logs: its operation, and the zone and the volume that it names.

use super::{Caller, Desk, Question};
use crate::ec2;
use crate::telemetry::Subject;
use base::VolumeId;
use region::{Account, Answer, Refusal, Region};

impl Question {
    /// The name of its operation.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Ec2(request) => request.name(),
            Self::Sts(request) => request.name(),
        }
    }

    /// What is known of it without the region.
    pub(super) fn subject(&self, account: Account) -> Subject {
        Subject { operation: Some(self.operation()), account: Some(account), ..Subject::default() }
    }
}

impl Desk {
    /// What is known of a question before it is dealt with: a volume that is deleted cannot be asked for its zone afterwards.
    pub(super) fn subject(&self, region: &Region, caller: &Caller, question: &Question) -> Subject {
        let mut subject = question.subject(caller.account);
        let Question::Ec2(request) = question else { return subject };
        let zone = match &**request {
            ec2::Request::CreateVolume(m) => {
                self.places.meant(m.availability_zone.as_deref(), m.availability_zone_id.as_deref()).ok()
            }
            request => {
                subject.volume = volume(request);
                let volume = subject.volume.and_then(|id| region.volume(caller.account, id));
                volume.map(|volume| volume.shape.zone)
            }
        };
        subject.zone = zone.map(|zone| self.places.name_of(zone).to_string());
        subject
    }
}

/// The volume that a request is about, if it is about one.
fn volume(request: &ec2::Request) -> Option<VolumeId> {
    use ec2::Request as R;
    let text = match request {
        R::AttachVolume(m) => &m.volume_id,
        R::CreateTags(m) => alone(&m.resources)?,
        R::DeleteTags(m) => alone(&m.resources)?,
        R::DeleteVolume(m) => &m.volume_id,
        R::DescribeVolumeAttribute(m) => &m.volume_id,
        R::DetachVolume(m) => &m.volume_id,
        R::EnableVolumeIO(m) => &m.volume_id,
        R::ModifyVolume(m) => &m.volume_id,
        R::ModifyVolumeAttribute(m) => &m.volume_id,
        _ => return None,
    };
    text.parse().ok()
}

fn alone(ids: &[String]) -> Option<&String> {
    ids.first().filter(|_| ids.len() == 1)
}

/// The volume that an answer of the region names.
pub(super) fn named(result: &Result<Answer, Refusal>) -> Option<VolumeId> {
    match result {
        Ok(Answer::Volume(volume)) => Some(volume.id),
        Err(Refusal::TimedOut { volume }) => Some(*volume),
        _ => None,
    }
}
