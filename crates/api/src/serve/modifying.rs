//! Changes of volumes in use: size, type, IOPS and throughput.

use super::filters::Filters;
use super::kinds::{self, Wish};
use super::pages::Page;
use super::{Caller, Desk, Outcome, Told, attachments, volumes};
use crate::{ApiError, Code, ec2};
use base::VolumeId;
use region::{Command, Modification, ModifyStage, Quality, Region, Volume};

/// What a type of which the client says nothing is given when a volume becomes one of it (AWS's documentation of ModifyVolume).
const IOPS_OF_ANOTHER_TYPE: i32 = 3000;

const FILTERS: [&str; 13] = [
    "modification-state",
    "operator.managed",
    "operator.principal",
    "original-iops",
    "original-multi-attach-enabled",
    "original-size",
    "original-volume-type",
    "start-time",
    "target-iops",
    "target-multi-attach-enabled",
    "target-size",
    "target-volume-type",
    "volume-id",
];

/// Reads a wish and what becomes of the volume by it.
pub(super) fn modify(region: &Region, caller: &Caller, m: &ec2::ModifyVolumeRequest) -> Outcome<Command> {
    if m.volume_id.is_empty() {
        return Err(ApiError::missing_parameter("VolumeId"));
    }
    if m.multi_attach_enabled == Some(true) {
        let what = "A volume that is attached to several instances at once is not supported here.";
        return Err(ApiError::new(Code::UnsupportedOperation, what));
    }
    if m.size.is_none() && m.volume_type.is_none() && m.iops.is_none() && m.throughput.is_none() {
        return Err(ApiError::missing_parameter("Size/VolumeType/Iops/Throughput"));
    }
    m.volume_type.as_deref().map(kinds::named).transpose()?;
    if m.dry_run == Some(true) {
        return Err(ApiError::dry_run());
    }
    let (account, id, at_ms) = (caller.account, volumes::id(&m.volume_id)?, caller.now_ms);
    let volume = region.volume(account, id).ok_or_else(|| ApiError::volumes_not_found(&[&m.volume_id]))?;
    Ok(Command::ModifyVolume { account, volume: id, to: target(volume, m)?, at_ms })
}

fn target(volume: &Volume, m: &ec2::ModifyVolumeRequest) -> Outcome<Quality> {
    let shape = &volume.shape;
    let (was, kind) = (kinds::named(&shape.label)?, kinds::named(m.volume_type.as_deref().unwrap_or(&shape.label))?);
    if was.copies() != kind.copies() {
        let what = format!("Changing a volume from {} to {} is not supported here.", was.name, kind.name);
        return Err(ApiError::new(Code::UnsupportedOperation, what));
    }
    let gib = m.size.unwrap_or_else(|| gib(shape.size));
    if gib < self::gib(shape.size) {
        let what = format!("New size cannot be smaller than existing size ({}GiB).", self::gib(shape.size));
        return Err(ApiError::new(Code::InvalidParameterValue, what));
    }
    let same = was.name == kind.name;
    // What the client may choose and says nothing of stays; of another type it is what AWS gives it.
    let number = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
    let kept = || if same { number(shape.throttle.iops) } else { IOPS_OF_ANOTHER_TYPE };
    let iops = m.iops.or_else(|| kind.takes_iops().then(kept));
    let kept = (same && kind.tells_throughput()).then(|| number(shape.throttle.bytes_per_s >> 20));
    let throttle = kind.throttle(Wish { gib, iops, throughput: m.throughput.or(kept) })?;
    let size = u64::try_from(gib).expect("its bounds were checked") << 30;
    Ok(Quality { size, throttle, label: kind.name.into() })
}

fn gib(size: u64) -> i32 {
    i32::try_from(size >> 30).unwrap_or(i32::MAX)
}

fn state(stage: ModifyStage) -> &'static str {
    use ec2::values::volume_modification_state as words;
    match stage {
        ModifyStage::Growing => words::MODIFYING,
        // The new size can be used.
        ModifyStage::Throttling => words::OPTIMIZING,
        ModifyStage::Completed => words::COMPLETED,
        ModifyStage::Failed => words::FAILED,
    }
}

/// A change, as it is told.
pub(super) fn written(volume: VolumeId, m: &Modification) -> ec2::VolumeModification {
    let iops = |q: &Quality| {
        let tells = kinds::named(&q.label).is_ok_and(kinds::Kind::tells_iops);
        tells.then(|| i32::try_from(q.throttle.iops).unwrap_or(i32::MAX))
    };
    let throughput = |q: &Quality| {
        let tells = kinds::named(&q.label).is_ok_and(kinds::Kind::tells_throughput);
        tells.then(|| i32::try_from(q.throttle.bytes_per_s >> 20).unwrap_or(i32::MAX))
    };
    let progress = match m.stage {
        ModifyStage::Growing | ModifyStage::Failed => 0,
        ModifyStage::Throttling => 50,
        ModifyStage::Completed => 100,
    };
    ec2::VolumeModification {
        volume_id: Some(volume.to_string()),
        modification_state: Some(state(m.stage).into()),
        status_message: (!m.why.is_empty()).then(|| m.why.clone()),
        target_size: Some(gib(m.to.size)),
        target_iops: iops(&m.to),
        target_volume_type: Some(m.to.label.clone()),
        target_throughput: throughput(&m.to),
        target_multi_attach_enabled: Some(false),
        original_size: Some(gib(m.from.size)),
        original_iops: iops(&m.from),
        original_volume_type: Some(m.from.label.clone()),
        original_throughput: throughput(&m.from),
        original_multi_attach_enabled: Some(false),
        progress: Some(progress),
        start_time: Some(attachments::at(m.at_ms)),
        end_time: (m.ended_ms != 0).then(|| attachments::at(m.ended_ms)),
        operator: None,
    }
}

impl Desk {
    pub(super) fn describe_modifications(
        &self,
        region: &Region,
        caller: &Caller,
        m: &ec2::DescribeVolumesModificationsRequest,
    ) -> Outcome<Told<ec2::DescribeVolumesModificationsRequest>> {
        let filters = Filters::read(&m.filters, &FILTERS)?;
        let page = Page::read(m.max_results, m.next_token.as_deref(), !m.volume_ids.is_empty())?;
        if m.dry_run == Some(true) {
            return Err(ApiError::dry_run());
        }
        let named = volumes::named(region, caller, &m.volume_ids)?;
        if let Some(never) = named.iter().flatten().find(|volume| volume.modification.is_none()) {
            return Err(ApiError::modification_not_found(&never.id.to_string()));
        }
        let found = volumes::from(region, caller, named, &page)?.filter_map(|volume| {
            let modification = volume.modification.as_ref()?;
            filters.hold(|name| under(volume, modification, name)).then_some((volume.id, modification))
        });
        let (found, next_token) = page.cut(found, |(id, _)| id.to_string());
        let volumes_modifications = found.into_iter().map(|(id, m)| written(id, m)).collect();
        Ok(Told(ec2::DescribeVolumesModificationsResult { next_token, volumes_modifications }))
    }
}

fn under(volume: &Volume, m: &Modification, name: &str) -> Vec<String> {
    let told = written(volume.id, m);
    let number = |n: Option<i32>| n.map(|n| n.to_string());
    let value = match name {
        "modification-state" => told.modification_state,
        "operator.managed" | "original-multi-attach-enabled" | "target-multi-attach-enabled" => Some("false".into()),
        "original-iops" => number(told.original_iops),
        "original-size" => number(told.original_size),
        "original-volume-type" => told.original_volume_type,
        "start-time" => told.start_time.map(|at| at.to_string()),
        "target-iops" => number(told.target_iops),
        "target-size" => number(told.target_size),
        "target-volume-type" => told.target_volume_type,
        "volume-id" => told.volume_id,
        _ => None,
    };
    value.into_iter().collect()
}
