//! What the region answers, in words of AWS.

use super::{Caller, Desk, Outcome, Telling, Written, attachments, defaults, done, modifying, volumes};
use crate::shape::Done;
use crate::{ApiError, Code, ec2};
use region::{Answer, Defaults, Refusal};

impl Desk {
    pub(super) fn tell(&self, telling: &Telling, caller: &Caller, result: Outcome<Answer>) -> Written {
        match telling {
            Telling::CreateVolume => {
                let volume = result.map(|answer| match answer {
                    Answer::Volume(volume) => self.created(&volume),
                    other => unreachable!("a volume was asked for: {other:?}"),
                });
                done::<ec2::CreateVolumeRequest>(caller, volume)
            }
            Telling::AttachVolume => done::<ec2::AttachVolumeRequest>(caller, result.map(attachment)),
            Telling::DetachVolume(_) => done::<ec2::DetachVolumeRequest>(caller, result.map(attachment)),
            Telling::ModifyVolume => {
                let modified = result.map(|answer| match answer {
                    Answer::Modification(volume, m) => {
                        ec2::ModifyVolumeResult { volume_modification: Some(modifying::written(volume, &m)) }
                    }
                    other => unreachable!("a change was asked for: {other:?}"),
                });
                done::<ec2::ModifyVolumeRequest>(caller, modified)
            }
            Telling::VolumeAttribute => done::<ec2::ModifyVolumeAttributeRequest>(caller, result.map(|_| Done)),
            Telling::Encrypt => {
                let told = |d: Defaults| ec2::EnableEbsEncryptionByDefaultResult {
                    ebs_encryption_by_default: Some(d.encrypted),
                };
                done::<ec2::EnableEbsEncryptionByDefaultRequest>(caller, result.map(wanted).map(told))
            }
            Telling::DoNotEncrypt => {
                let told = |d: Defaults| ec2::DisableEbsEncryptionByDefaultResult {
                    ebs_encryption_by_default: Some(d.encrypted),
                };
                done::<ec2::DisableEbsEncryptionByDefaultRequest>(caller, result.map(wanted).map(told))
            }
            Telling::SetKey => {
                let told =
                    |d: Defaults| ec2::ModifyEbsDefaultKmsKeyIdResult { kms_key_id: Some(defaults::key_of(d.key)) };
                done::<ec2::ModifyEbsDefaultKmsKeyIdRequest>(caller, result.map(wanted).map(told))
            }
            Telling::ResetKey => {
                let told =
                    |d: Defaults| ec2::ResetEbsDefaultKmsKeyIdResult { kms_key_id: Some(defaults::key_of(d.key)) };
                done::<ec2::ResetEbsDefaultKmsKeyIdRequest>(caller, result.map(wanted).map(told))
            }
            Telling::DeleteVolume => done::<ec2::DeleteVolumeRequest>(caller, result.map(|_| Done)),
            Telling::CreateTags => done::<ec2::CreateTagsRequest>(caller, result.map(|_| Done)),
            Telling::DeleteTags => done::<ec2::DeleteTagsRequest>(caller, result.map(|_| Done)),
        }
    }

    /// A refusal of the region in AWS's words.
    pub(super) fn error(&self, telling: &Telling, why: &Refusal) -> ApiError {
        let id = |volume: &base::VolumeId| volume.to_string();
        match why {
            Refusal::Starting => ApiError::unavailable("The region is starting; try again in a moment."),
            Refusal::Broken(why) => ApiError::new(Code::InternalError, format!("The region does not serve: {why}")),
            Refusal::Busy { zone: None } => ApiError::request_limit(),
            Refusal::Busy { zone: Some(zone) } => {
                let name = self.places.name_of(*zone);
                let what = format!("Request limit exceeded: too many requests wait for zone {name}.");
                ApiError::new(Code::RequestLimitExceeded, what)
            }
            Refusal::NoSuchZone => ApiError::zone_not_found("?"),
            Refusal::NoSuchVolume(volume) => ApiError::volumes_not_found(&[id(volume)]),
            Refusal::NotNow { volume, .. } if matches!(telling, Telling::AttachVolume) => {
                ApiError::not_available(&id(volume))
            }
            Refusal::NotNow { volume, stage } => ApiError::in_state(&id(volume), volumes::state(*stage)),
            Refusal::InUse { volume, why } => {
                ApiError::new(Code::VolumeInUse, format!("Volume {volume} is currently attached: {why}"))
            }
            Refusal::NoSuchHost(host) => ApiError::instances_not_found(&[host.to_string()]),
            Refusal::OtherZone { volume, host } => ApiError::zone_mismatch(&id(volume), &host.to_string()),
            Refusal::Attached { volume, .. } if matches!(telling, Telling::AttachVolume) => {
                ApiError::already_attached(&id(volume))
            }
            Refusal::Attached { volume, host } => ApiError::attached(&id(volume), &host.to_string()),
            Refusal::NotAttached(volume) => ApiError::in_state(&id(volume), ec2::values::volume_state::AVAILABLE),
            Refusal::OtherAttachment(volume) => match telling {
                Telling::DetachVolume(Some(instance)) => ApiError::attachment_not_found(&id(volume), instance),
                _ => ApiError::attachment_not_found(&id(volume), "?"),
            },
            Refusal::DeviceTaken { device, .. } => ApiError::device_in_use(device),
            Refusal::TooManyAttached { host, max } => attachments::too_many(*host, *max),
            Refusal::Modifying(volume) => ApiError::modification_under_way(&id(volume), "MODIFYING"),
            Refusal::Shrinks { size, .. } => {
                let what = format!("New size cannot be smaller than existing size ({}GiB).", size >> 30);
                ApiError::new(Code::InvalidParameterValue, what)
            }
            Refusal::TokenTaken => ApiError::idempotent_mismatch(),
            Refusal::TooManyVolumes { max } => {
                let what = format!("You have reached the maximum number of volumes, {max}.");
                ApiError::new(Code::VolumeLimitExceeded, what)
            }
            Refusal::TooManyTags { max, .. } => {
                let what = format!("The maximum number of Tags for a resource has been reached: {max}.");
                ApiError::new(Code::TagLimitExceeded, what)
            }
            Refusal::NoRoom(why) => {
                let what = format!("There is not enough capacity to create the volume: {why}");
                ApiError::new(Code::InsufficientVolumeCapacity, what)
            }
            Refusal::Zone(why) => ApiError::unavailable(format!("The zone cannot do it now: {why}")),
            Refusal::TimedOut { volume } if matches!(telling, Telling::DeleteVolume) => ApiError::unavailable(format!(
                "The zone has not answered in time; volume {volume} goes when it does, unless it is attached."
            )),
            Refusal::TimedOut { volume } => ApiError::unavailable(format!(
                "The zone has not answered in time; volume {volume} may be made yet. Ask again with the same client token."
            )),
            Refusal::Unknown => {
                ApiError::unavailable("What became of the request is not known; ask again with the same client token.")
            }
        }
    }
}

fn wanted(answer: Answer) -> Defaults {
    match answer {
        Answer::Defaults(defaults) => defaults,
        other => unreachable!("an account's wishes were set: {other:?}"),
    }
}

fn attachment(answer: Answer) -> ec2::VolumeAttachment {
    match answer {
        Answer::Attachment(volume, attachment) => attachments::written(volume, &attachment),
        other => unreachable!("an attachment was asked for: {other:?}"),
    }
}
