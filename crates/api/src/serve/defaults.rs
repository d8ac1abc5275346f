//! What accounts want of all their volumes, and the attributes of one.
//!
//! Nothing is encrypted here yet. Whoever wants all new volumes encrypted is believed: his are then refused, instead of being made bare.

use super::{Caller, Outcome, Told, volumes};
use crate::{ApiError, Code, ec2};
use region::{Command, DefaultsChange, Region};

/// The key of whoever chose none, as AWS names it.
const USUAL_KEY: &str = "alias/aws/ebs";

pub(super) fn encrypted(region: &Region, caller: &Caller) -> ec2::GetEbsEncryptionByDefaultResult {
    let on = region.defaults(caller.account).encrypted;
    ec2::GetEbsEncryptionByDefaultResult { ebs_encryption_by_default: Some(on), ..Default::default() }
}

pub(super) fn key(region: &Region, caller: &Caller) -> ec2::GetEbsDefaultKmsKeyIdResult {
    ec2::GetEbsDefaultKmsKeyIdResult { kms_key_id: Some(key_of(region.defaults(caller.account).key)) }
}

/// The key, as it is told.
pub(super) fn key_of(key: Option<String>) -> String {
    key.unwrap_or_else(|| USUAL_KEY.into())
}

pub(super) fn set_encrypted(caller: &Caller, on: bool) -> Command {
    Command::SetDefaults { account: caller.account, change: DefaultsChange::Encrypted(on) }
}

/// A key by id, alias or name; what it is, nobody here needs to know.
pub(super) fn set_key(caller: &Caller, key: &str) -> Outcome<Command> {
    if key.is_empty() {
        return Err(ApiError::missing_parameter("KmsKeyId"));
    }
    if key.len() > 2048 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::invalid_value(key, "kmsKeyId", "It has 1 to 2048 printable ASCII characters."));
    }
    Ok(Command::SetDefaults { account: caller.account, change: DefaultsChange::Key(Some(key.into())) })
}

pub(super) fn reset_key(caller: &Caller) -> Command {
    Command::SetDefaults { account: caller.account, change: DefaultsChange::Key(None) }
}

/// Refuses what an account that wants encryption does not want.
pub(super) fn allows_bare(region: &Region, caller: &Caller) -> Outcome<()> {
    if !region.defaults(caller.account).encrypted {
        return Ok(());
    }
    let what = "The account wants new volumes encrypted, and encrypted volumes are not supported here; see DisableEbsEncryptionByDefault.";
    Err(ApiError::new(Code::UnsupportedOperation, what))
}

pub(super) fn describe_attribute(
    region: &Region,
    caller: &Caller,
    m: &ec2::DescribeVolumeAttributeRequest,
) -> Outcome<Told<ec2::DescribeVolumeAttributeRequest>> {
    use ec2::values::volume_attribute_name as words;
    if m.volume_id.is_empty() {
        return Err(ApiError::missing_parameter("VolumeId"));
    }
    if ![words::AUTOENABLEIO, words::PRODUCTCODES].contains(&m.attribute.as_str()) {
        let why = "It is autoEnableIO or productCodes.";
        return Err(ApiError::invalid_value(&m.attribute, "attribute", why));
    }
    if m.dry_run == Some(true) {
        return Err(ApiError::dry_run());
    }
    let missing = || ApiError::volumes_not_found(&[&m.volume_id]);
    let volume = region.volume(caller.account, volumes::id(&m.volume_id)?).ok_or_else(missing)?;
    let on = ec2::AttributeBooleanValue { value: Some(volume.resumes_by_itself) };
    Ok(Told(ec2::DescribeVolumeAttributeResult {
        auto_enable_io: (m.attribute == words::AUTOENABLEIO).then_some(on),
        product_codes: Vec::new(),
        volume_id: Some(volume.id.to_string()),
    }))
}

pub(super) fn set_attribute(caller: &Caller, m: &ec2::ModifyVolumeAttributeRequest) -> Outcome<Command> {
    if m.volume_id.is_empty() {
        return Err(ApiError::missing_parameter("VolumeId"));
    }
    let on = m.auto_enable_io.as_ref().and_then(|value| value.value);
    let on = on.ok_or_else(|| ApiError::missing_parameter("AutoEnableIO"))?;
    if m.dry_run == Some(true) {
        return Err(ApiError::dry_run());
    }
    Ok(Command::SetResumes { account: caller.account, volume: volumes::id(&m.volume_id)?, on })
}

/// I/O of a volume is never stopped for fear of wrong data, so there is nothing to be done but to see that there is such a volume.
pub(super) fn enable_io(
    region: &Region,
    caller: &Caller,
    m: &ec2::EnableVolumeIORequest,
) -> Outcome<Told<ec2::EnableVolumeIORequest>> {
    if m.volume_id.is_empty() {
        return Err(ApiError::missing_parameter("VolumeId"));
    }
    if m.dry_run == Some(true) {
        return Err(ApiError::dry_run());
    }
    let there = region.volume(caller.account, volumes::id(&m.volume_id)?).is_some();
    if there { Ok(Told(crate::shape::Done)) } else { Err(ApiError::volumes_not_found(&[&m.volume_id])) }
}
