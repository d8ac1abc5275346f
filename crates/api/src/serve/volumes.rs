//! Volumes: made, deleted, described.

use super::filters::Filters;
use super::kinds::{self, Wish};
use super::pages::Page;
use super::{Caller, Desk, Outcome, Told, attachments, defaults, tags};
use crate::{ApiError, Code, Timestamp, ec2};
use base::VolumeId;
use region::{Command, Region, Shape, Stage, Token, Volume};

/// The type of a volume whose maker says none (AWS's model).
const USUAL_TYPE: &str = "gp2";

/// Filters that a volume knows; those of snapshots and services of AWS's find nothing yet.
const FILTERS: [&str; 25] = [
    "attachment.attach-time",
    "attachment.delete-on-termination",
    "attachment.device",
    "attachment.instance-id",
    "attachment.status",
    "availability-zone",
    "availability-zone-id",
    "create-time",
    "encrypted",
    "fast-restored",
    "multi-attach-enabled",
    "operator.managed",
    "operator.principal",
    "outpost-arn",
    "size",
    "snapshot-id",
    "source-volume-id",
    "sse-type",
    "status",
    "tag-key",
    "tag-value",
    "tag:",
    "volume-id",
    "volume-type",
    "volume-initialization-rate",
];

/// A stage of a volume's life in AWS's words.
pub(super) fn state(stage: Stage) -> &'static str {
    match stage {
        Stage::Reserving => "creating",
        Stage::There => "available",
        Stage::Deleting => "deleting",
        Stage::Gone => "deleted",
    }
}

/// The volume of that id. One that no volume can have is one that there is not: clients expect the same of both.
pub(super) fn id(text: &str) -> Result<VolumeId, ApiError> {
    text.parse().map_err(|_| ApiError::volumes_not_found(&[text]))
}

pub(super) fn delete(caller: &Caller, m: &ec2::DeleteVolumeRequest) -> Outcome<Command> {
    if m.volume_id.is_empty() {
        return Err(ApiError::missing_parameter("VolumeId"));
    }
    // A dry run wins over an id that does not exist.
    if m.dry_run == Some(true) {
        return Err(ApiError::dry_run());
    }
    Ok(Command::DeleteVolume { account: caller.account, volume: id(&m.volume_id)? })
}

/// What would make another volume than the one that is asked for, and is not built.
fn must_be_built(m: &ec2::CreateVolumeRequest) -> Outcome<()> {
    let not_built =
        |what: &str| Err(ApiError::new(Code::UnsupportedOperation, format!("{what} is not supported here.")));
    if m.snapshot_id.is_some() || m.volume_initialization_rate.is_some() {
        return not_built("Making a volume from a snapshot");
    }
    if m.kms_key_id.is_some() && m.encrypted != Some(true) {
        let what = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
        return Err(ApiError::new(Code::InvalidParameterDependency, what));
    }
    if m.encrypted == Some(true) {
        return not_built("An encrypted volume");
    }
    if m.outpost_arn.is_some() {
        return not_built("A volume on an Outpost");
    }
    if m.multi_attach_enabled == Some(true) {
        return match m.volume_type.as_deref() {
            Some("io1" | "io2") => not_built("A volume that is attached to several instances at once"),
            other => {
                let what = format!("Multi-Attach is not supported for {} volumes.", other.unwrap_or(USUAL_TYPE));
                Err(ApiError::new(Code::InvalidParameterDependency, what))
            }
        };
    }
    Ok(())
}

impl Desk {
    pub(super) fn create_volume(
        &self,
        region: &Region,
        caller: &Caller,
        m: &ec2::CreateVolumeRequest,
    ) -> Outcome<Command> {
        let zone = self.places.meant(m.availability_zone.as_deref(), m.availability_zone_id.as_deref())?;
        must_be_built(m)?;
        let kind = kinds::named(m.volume_type.as_deref().unwrap_or(USUAL_TYPE))?;
        let gib = m.size.ok_or_else(|| ApiError::missing_parameter("size/snapshot"))?;
        let throttle = kind.throttle(Wish { gib, iops: m.iops, throughput: m.throughput })?;
        let size = u64::try_from(gib).expect("its bounds were checked") << 30;
        let tags = tags::specified(&m.tag_specifications, "volume")?;
        let shape = Shape { zone, size, copies: kind.copies(), throttle, label: kind.name.into() };
        let token = m.client_token.as_deref().map(|text| token(text, &shape, &tags)).transpose()?;
        defaults::allows_bare(region, caller)?;
        let (account, at_ms) = (caller.account, caller.now_ms);
        Ok(Command::CreateVolume { account, shape, tags, token, at_ms })
    }

    /// A volume that was just made, as CreateVolume tells it: without attachments, and on its way.
    pub(super) fn created(&self, volume: &Volume) -> ec2::Volume {
        let told = self.volume(volume);
        // A request that came again is answered with what the volume is by now (aws-api.md 1.1).
        let just_made = volume.stage == Stage::There && volume.attachment.is_none();
        let state = if just_made { Some(ec2::values::volume_state::CREATING.to_string()) } else { told.state };
        ec2::Volume { state, ..told }
    }

    fn volume(&self, volume: &Volume) -> ec2::Volume {
        let shape = &volume.shape;
        let kind = kinds::named(&shape.label).ok();
        let tells = |what: fn(&kinds::Kind) -> bool| kind.is_some_and(what);
        ec2::Volume {
            availability_zone: Some(self.places.name_of(shape.zone).into()),
            availability_zone_id: Some(self.places.id_of(shape.zone)),
            volume_id: Some(volume.id.to_string()),
            volume_type: Some(shape.label.clone()),
            size: i32::try_from(shape.size >> 30).ok(),
            iops: tells(kinds::Kind::tells_iops).then(|| i32::try_from(shape.throttle.iops).unwrap_or(i32::MAX)),
            throughput: tells(kinds::Kind::tells_throughput)
                .then(|| i32::try_from(shape.throttle.bytes_per_s >> 20).unwrap_or(i32::MAX)),
            state: Some(attachments::volume_state(volume).into()),
            attachments: volume.attachment.iter().map(|a| attachments::written(volume.id, a)).collect(),
            create_time: Some(made_at(volume)),
            encrypted: Some(false),
            multi_attach_enabled: Some(false),
            snapshot_id: Some(String::new()),
            tags: tags::written(&volume.tags),
            ..ec2::Volume::default()
        }
    }

    pub(super) fn describe_volumes(
        &self,
        region: &Region,
        caller: &Caller,
        m: &ec2::DescribeVolumesRequest,
    ) -> Outcome<Told<ec2::DescribeVolumesRequest>> {
        let filters = Filters::read(&m.filters, &FILTERS)?;
        let page = Page::read(m.max_results, m.next_token.as_deref(), !m.volume_ids.is_empty())?;
        if m.dry_run == Some(true) {
            return Err(ApiError::dry_run());
        }
        let named = named(region, caller, &m.volume_ids)?;
        let holds = |volume: &&Volume| filters.hold(|name| self.under(volume, name));
        let found = from(region, caller, named, &page)?.filter(holds);
        let (found, next_token) = page.cut(found, |volume| volume.id.to_string());
        let volumes = found.into_iter().map(|volume| self.volume(volume)).collect();
        Ok(Told(ec2::DescribeVolumesResult { next_token, volumes }))
    }

    /// What a volume has under the name of a filter.
    fn under(&self, volume: &Volume, name: &str) -> Vec<String> {
        let of = |value: String| vec![value];
        match name {
            "availability-zone" => of(self.places.name_of(volume.shape.zone).into()),
            "availability-zone-id" => of(self.places.id_of(volume.shape.zone)),
            "create-time" => of(made_at(volume).to_string()),
            "encrypted" | "multi-attach-enabled" | "fast-restored" | "operator.managed" => of("false".into()),
            "size" => of((volume.shape.size >> 30).to_string()),
            "status" => of(attachments::volume_state(volume).into()),
            "volume-id" => of(volume.id.to_string()),
            "volume-type" => of(volume.shape.label.clone()),
            _ if name.starts_with("attachment.") => attachments::under(volume, name),
            _ => tags::under(&volume.tags, name),
        }
    }
}

fn made_at(volume: &Volume) -> Timestamp {
    Timestamp(i64::try_from(volume.made_at_ms).unwrap_or(i64::MAX))
}

/// Those that are named, or all of the account from a page on.
pub(super) fn from<'a>(
    region: &'a Region,
    caller: &Caller,
    named: Option<Vec<&'a Volume>>,
    page: &Page,
) -> Outcome<Box<dyn Iterator<Item = &'a Volume> + 'a>> {
    let after = page.after.as_deref().map(id).transpose()?;
    Ok(match named {
        Some(named) => Box::new(named.into_iter()),
        None => Box::new(region.volumes(caller.account, after)),
    })
}

/// The volumes of these ids; none when none are named. All that there are not are named in the refusal.
pub(super) fn named<'a>(
    region: &'a Region,
    caller: &Caller,
    ids: &[String],
) -> Result<Option<Vec<&'a Volume>>, ApiError> {
    if ids.is_empty() {
        return Ok(None);
    }
    let find = |text: &String| region.volume(caller.account, text.parse().ok()?);
    let missing: Vec<&String> = ids.iter().filter(|text| find(text).is_none()).collect();
    if !missing.is_empty() {
        return Err(ApiError::volumes_not_found(&missing));
    }
    let mut found: Vec<&Volume> = ids.iter().filter_map(find).collect();
    found.sort_by_key(|volume| volume.id);
    found.dedup_by_key(|volume| volume.id);
    Ok(Some(found))
}

/// The request's name, with a digest of all that it asks for but where (aws-api.md 1.1).
fn token(text: &str, shape: &Shape, tags: &[region::Tag]) -> Result<Token, ApiError> {
    if text.is_empty() || text.len() > region::TOKEN_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = format!("It has 1 to {} printable ASCII characters.", region::TOKEN_BYTES_MAX);
        return Err(ApiError::invalid_value(text, "clientToken", why));
    }
    let Shape { zone: _, size, copies, throttle, label } = shape;
    let mut words = format!("{size} {copies} {} {} {label}", throttle.iops, throttle.bytes_per_s);
    for tag in tags {
        // Lengths first, so that no two lists read alike.
        words += &format!(" {} {} {}{}", tag.key.len(), tag.value.len(), tag.key, tag.value);
    }
    Ok(Token { text: text.into(), digest: crate::digest(words.as_bytes()) })
}
