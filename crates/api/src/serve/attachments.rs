//! Attachments: which instance has which volume, and under which device name.

use super::{Caller, Outcome, volumes};
use crate::{ApiError, Code, Timestamp, ec2};
use base::{HostId, VolumeId};
use region::{AttachStage, Attachment, Command, Region, Stage, Volume};

/// The longest device name, in bytes.
const DEVICE_BYTES_MAX: usize = 64;

/// The instance of that id. One that no instance can have is one that there is not.
pub(super) fn instance(text: &str) -> Result<HostId, ApiError> {
    text.parse().map_err(|_| ApiError::instances_not_found(&[text]))
}

fn given<'a>(text: &'a str, name: &str) -> Result<&'a str, ApiError> {
    if text.is_empty() { Err(ApiError::missing_parameter(name)) } else { Ok(text) }
}

pub(super) fn attach(caller: &Caller, m: &ec2::AttachVolumeRequest) -> Outcome<Command> {
    let (volume, host) = (given(&m.volume_id, "VolumeId")?, given(&m.instance_id, "InstanceId")?);
    let device = given(&m.device, "Device")?;
    if device.len() > DEVICE_BYTES_MAX || !device.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = format!("It has 1 to {DEVICE_BYTES_MAX} printable ASCII characters.");
        return Err(ApiError::invalid_value(device, "unixDevice", why));
    }
    if let Some(card) = m.ebs_card_index.filter(|card| *card != 0) {
        return Err(ApiError::invalid_value(&card.to_string(), "ebsCardIndex", "There is one card, 0."));
    }
    if m.dry_run == Some(true) {
        return Err(ApiError::dry_run());
    }
    let (account, at_ms) = (caller.account, caller.now_ms);
    Ok(Command::AttachVolume {
        account,
        volume: volumes::id(volume)?,
        host: instance(host)?,
        device: device.into(),
        at_ms,
    })
}

pub(super) fn detach(caller: &Caller, m: &ec2::DetachVolumeRequest) -> Outcome<Command> {
    let volume = given(&m.volume_id, "VolumeId")?;
    if m.dry_run == Some(true) {
        return Err(ApiError::dry_run());
    }
    let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let host = named(&m.instance_id).map(|text| instance(&text)).transpose()?;
    Ok(Command::DetachVolume { account: caller.account, volume: volumes::id(volume)?, host, device: named(&m.device) })
}

/// A stage of an attachment in AWS's words.
pub(super) fn state(stage: AttachStage) -> &'static str {
    match stage {
        AttachStage::Attaching => ec2::values::volume_attachment_state::ATTACHING,
        AttachStage::Attached => ec2::values::volume_attachment_state::ATTACHED,
        AttachStage::Detaching => ec2::values::volume_attachment_state::DETACHING,
    }
}

/// The state of a volume in AWS's words: one that an instance has, or is to have, is in use.
pub(super) fn volume_state(volume: &Volume) -> &'static str {
    match &volume.attachment {
        Some(_) if volume.stage == Stage::There => ec2::values::volume_state::IN_USE,
        _ => volumes::state(volume.stage),
    }
}

/// An attachment, as it is told.
pub(super) fn written(volume: VolumeId, attachment: &Attachment) -> ec2::VolumeAttachment {
    ec2::VolumeAttachment {
        volume_id: Some(volume.to_string()),
        instance_id: Some(attachment.host.to_string()),
        device: Some(attachment.device.clone()),
        state: Some(state(attachment.stage).into()),
        attach_time: Some(at(attachment.at_ms)),
        // Hosts are not ended here, so nothing goes with them.
        delete_on_termination: Some(false),
        ..ec2::VolumeAttachment::default()
    }
}

pub(super) fn at(ms: u64) -> Timestamp {
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// What a volume has under the name of a filter of its attachments.
pub(super) fn under(volume: &Volume, name: &str) -> Vec<String> {
    let Some(attachment) = &volume.attachment else { return Vec::new() };
    let value = match name {
        "attachment.attach-time" => at(attachment.at_ms).to_string(),
        "attachment.delete-on-termination" => "false".into(),
        "attachment.device" => attachment.device.clone(),
        "attachment.instance-id" => attachment.host.to_string(),
        "attachment.status" => state(attachment.stage).into(),
        _ => return Vec::new(),
    };
    vec![value]
}

/// More volumes than an instance may have.
pub(super) fn too_many(host: HostId, max: usize) -> ApiError {
    let what = format!("The maximum number of volumes that can be attached to {host} has been reached: {max}.");
    ApiError::new(Code::AttachmentLimitExceeded, what)
}

/// How many an instance may have, as DescribeInstanceTypes tells it.
pub(super) fn most(region: &Region) -> i32 {
    i32::try_from(region.attachments_max()).unwrap_or(i32::MAX)
}
