//! Instances: the hosts that registered, each as a metal instance of the region's one type.

use super::filters::Filters;
use super::pages::Page;
use super::{Caller, Desk, Outcome, Told, attachments};
use crate::{ApiError, Code, ec2};
use region::{Region, Seen, Volume};

/// The type of every host.
const TYPE: &str = "seawall.metal";
/// AWS's number of the state `running`.
const RUNNING: i32 = 16;

const FILTERS: [&str; 22] = [
    "architecture",
    "availability-zone",
    "availability-zone-id",
    "block-device-mapping.attach-time",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "image-id",
    "instance-id",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "key-name",
    "launch-time",
    "owner-id",
    "private-dns-name",
    "root-device-name",
    "subnet-id",
    "tag-key",
    "tag:",
    "vpc-id",
];

const STATUS_FILTERS: [&str; 8] = [
    "availability-zone",
    "availability-zone-id",
    "instance-state-code",
    "instance-state-name",
    "instance-status.reachability",
    "instance-status.status",
    "system-status.reachability",
    "system-status.status",
];

const TYPE_FILTERS: [&str; 5] =
    ["bare-metal", "current-generation", "ebs-info.nvme-support", "instance-type", "supported-virtualization-type"];

fn running() -> ec2::InstanceState {
    ec2::InstanceState { code: Some(RUNNING), name: Some("running".into()) }
}

/// The hosts of these ids, or all from a page on. All that there are not are named in the refusal.
fn find<'a>(region: &'a Region, ids: &[String], page: &Page) -> Outcome<Box<dyn Iterator<Item = Seen<'a>> + 'a>> {
    if ids.is_empty() {
        let after = page.after.as_deref().map(attachments::instance).transpose()?;
        return Ok(Box::new(region.hosts(after)));
    }
    let seen = |text: &String| region.host(text.parse().ok()?);
    let missing: Vec<&String> = ids.iter().filter(|text| seen(text).is_none()).collect();
    if !missing.is_empty() {
        return Err(ApiError::instances_not_found(&missing));
    }
    let mut found: Vec<Seen<'a>> = ids.iter().filter_map(seen).collect();
    found.sort_by_key(|seen| seen.host.id);
    found.dedup_by_key(|seen| seen.host.id);
    Ok(Box::new(found.into_iter()))
}

fn mapping(caller: &Caller, volume: &Volume) -> Option<ec2::InstanceBlockDeviceMapping> {
    let attachment = volume.attachment.as_ref()?;
    Some(ec2::InstanceBlockDeviceMapping {
        device_name: Some(attachment.device.clone()),
        ebs: Some(ec2::EbsInstanceBlockDevice {
            attach_time: Some(attachments::at(attachment.at_ms)),
            delete_on_termination: Some(false),
            status: Some(attachments::state(attachment.stage).into()),
            volume_id: Some(volume.id.to_string()),
            volume_owner_id: Some(caller.account.to_string()),
            ..ec2::EbsInstanceBlockDevice::default()
        }),
    })
}

impl Desk {
    fn instance(&self, region: &Region, caller: &Caller, seen: Seen<'_>) -> ec2::Instance {
        let zone = seen.host.zone;
        let volumes = region.volumes_of(caller.account, seen.host.id);
        ec2::Instance {
            instance_id: Some(seen.host.id.to_string()),
            instance_type: Some(TYPE.into()),
            state: Some(running()),
            architecture: Some(architecture().into()),
            launch_time: Some(attachments::at(seen.host.since_ms)),
            block_device_mappings: volumes.filter_map(|volume| mapping(caller, volume)).collect(),
            placement: Some(ec2::Placement {
                availability_zone: Some(self.places.name_of(zone).into()),
                availability_zone_id: Some(self.places.id_of(zone)),
                tenancy: Some("host".into()),
                group_name: Some(String::new()),
                ..ec2::Placement::default()
            }),
            monitoring: Some(ec2::Monitoring { state: Some("disabled".into()), ..ec2::Monitoring::default() }),
            ami_launch_index: Some(0),
            ebs_optimized: Some(true),
            state_transition_reason: Some(String::new()),
            private_dns_name: Some(String::new()),
            public_dns_name: Some(String::new()),
            ..ec2::Instance::default()
        }
    }

    pub(super) fn describe_instances(
        &self,
        region: &Region,
        caller: &Caller,
        m: &ec2::DescribeInstancesRequest,
    ) -> Outcome<Told<ec2::DescribeInstancesRequest>> {
        let filters = Filters::read(&m.filters, &FILTERS)?;
        let page = Page::read(m.max_results, m.next_token.as_deref(), !m.instance_ids.is_empty())?;
        if m.dry_run == Some(true) {
            return Err(ApiError::dry_run());
        }
        let owner_id = caller.account.to_string();
        let found = find(region, &m.instance_ids, &page)?
            .map(|seen| self.instance(region, caller, seen))
            .filter(|instance| filters.hold(|name| under(instance, &owner_id, name)));
        let (found, next_token) = page.cut(found, |instance| instance.instance_id.clone().unwrap_or_default());
        let reservation = |instance: ec2::Instance| ec2::Reservation {
            reservation_id: instance.instance_id.as_ref().map(|id| id.replacen("i-", "r-", 1)),
            owner_id: Some(owner_id.clone()),
            instances: vec![instance],
            ..ec2::Reservation::default()
        };
        let reservations = found.into_iter().map(reservation).collect();
        Ok(Told(ec2::DescribeInstancesResult { next_token, reservations }))
    }

    fn instance_status(&self, seen: Seen<'_>) -> ec2::InstanceStatus {
        let (status, reachability) = match seen.connected {
            Some(true) => ("ok", "passed"),
            Some(false) => ("impaired", "failed"),
            None => ("insufficient-data", "insufficient-data"),
        };
        let summary = || ec2::InstanceStatusSummary {
            status: Some(status.into()),
            details: vec![ec2::InstanceStatusDetails {
                name: Some("reachability".into()),
                status: Some(reachability.into()),
                impaired_since: None,
            }],
        };
        ec2::InstanceStatus {
            availability_zone: Some(self.places.name_of(seen.host.zone).into()),
            availability_zone_id: Some(self.places.id_of(seen.host.zone)),
            instance_id: Some(seen.host.id.to_string()),
            instance_state: Some(running()),
            instance_status: Some(summary()),
            system_status: Some(summary()),
            ..ec2::InstanceStatus::default()
        }
    }

    pub(super) fn describe_instance_status(
        &self,
        region: &Region,
        m: &ec2::DescribeInstanceStatusRequest,
    ) -> Outcome<Told<ec2::DescribeInstanceStatusRequest>> {
        let filters = Filters::read(&m.filters, &STATUS_FILTERS)?;
        let page = Page::read(m.max_results, m.next_token.as_deref(), !m.instance_ids.is_empty())?;
        if m.dry_run == Some(true) {
            return Err(ApiError::dry_run());
        }
        let found = find(region, &m.instance_ids, &page)?
            .map(|seen| self.instance_status(seen))
            .filter(|status| filters.hold(|name| status_under(status, name)));
        let (instance_statuses, next_token) = page.cut(found, |status| status.instance_id.clone().unwrap_or_default());
        Ok(Told(ec2::DescribeInstanceStatusResult { next_token, instance_statuses }))
    }
}

/// What this build runs on; hosts of one region are alike.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }
}

pub(super) fn describe_types(
    region: &Region,
    m: &ec2::DescribeInstanceTypesRequest,
) -> Outcome<Told<ec2::DescribeInstanceTypesRequest>> {
    let filters = Filters::read(&m.filters, &TYPE_FILTERS)?;
    Page::read(m.max_results, m.next_token.as_deref(), !m.instance_types.is_empty())?;
    let unknown: Vec<&str> = m.instance_types.iter().map(String::as_str).filter(|name| *name != TYPE).collect();
    if !unknown.is_empty() {
        let names = crate::error::echo(&unknown.join(", ")).to_string();
        let what = format!("The following supplied instance types do not exist: [{names}]");
        return Err(ApiError::new(Code::InvalidInstanceType, what));
    }
    let has = |name: &str| {
        let value = match name {
            "bare-metal" | "current-generation" => "true",
            "ebs-info.nvme-support" => "unsupported",
            "instance-type" => TYPE,
            _ => "hvm",
        };
        vec![value.to_string()]
    };
    let info = ec2::InstanceTypeInfo {
        instance_type: Some(TYPE.into()),
        current_generation: Some(true),
        free_tier_eligible: Some(false),
        bare_metal: Some(true),
        supported_usage_classes: vec!["on-demand".into()],
        supported_root_device_types: vec!["ebs".into()],
        supported_virtualization_types: vec!["hvm".into()],
        instance_storage_supported: Some(false),
        processor_info: Some(ec2::ProcessorInfo {
            supported_architectures: vec![architecture().into()],
            ..ec2::ProcessorInfo::default()
        }),
        ebs_info: Some(ec2::EbsInfo {
            ebs_optimized_support: Some("default".into()),
            encryption_support: Some("unsupported".into()),
            nvme_support: Some("unsupported".into()),
            maximum_ebs_attachments: Some(attachments::most(region)),
            attachment_limit_type: Some("dedicated".into()),
            ..ec2::EbsInfo::default()
        }),
        ..ec2::InstanceTypeInfo::default()
    };
    let instance_types = filters.hold(has).then_some(info).into_iter().collect();
    Ok(Told(ec2::DescribeInstanceTypesResult { instance_types, next_token: None }))
}

fn under(instance: &ec2::Instance, owner_id: &str, name: &str) -> Vec<String> {
    let ebs = |of: fn(&ec2::EbsInstanceBlockDevice) -> Option<String>| {
        instance.block_device_mappings.iter().filter_map(|mapping| mapping.ebs.as_ref()).filter_map(of).collect()
    };
    let placed =
        |of: fn(&ec2::Placement) -> &Option<String>| instance.placement.iter().filter_map(|p| of(p).clone()).collect();
    match name {
        "architecture" => instance.architecture.iter().cloned().collect(),
        "availability-zone" => placed(|placement| &placement.availability_zone),
        "availability-zone-id" => placed(|placement| &placement.availability_zone_id),
        "block-device-mapping.attach-time" => ebs(|ebs| ebs.attach_time.map(|at| at.to_string())),
        "block-device-mapping.delete-on-termination" => ebs(|_| Some("false".into())),
        "block-device-mapping.device-name" => {
            instance.block_device_mappings.iter().filter_map(|mapping| mapping.device_name.clone()).collect()
        }
        "block-device-mapping.status" => ebs(|ebs| ebs.status.clone()),
        "block-device-mapping.volume-id" => ebs(|ebs| ebs.volume_id.clone()),
        "instance-id" => instance.instance_id.iter().cloned().collect(),
        "instance-state-code" => vec![RUNNING.to_string()],
        "instance-state-name" => vec!["running".into()],
        "instance-type" => vec![TYPE.into()],
        "launch-time" => instance.launch_time.iter().map(ToString::to_string).collect(),
        "owner-id" => vec![owner_id.into()],
        // Hosts have no images, keys, networks or labels here.
        _ => Vec::new(),
    }
}

fn status_under(status: &ec2::InstanceStatus, name: &str) -> Vec<String> {
    let summary = status.instance_status.iter();
    match name {
        "availability-zone" => status.availability_zone.iter().cloned().collect(),
        "availability-zone-id" => status.availability_zone_id.iter().cloned().collect(),
        "instance-state-code" => vec![RUNNING.to_string()],
        "instance-state-name" => vec!["running".into()],
        "instance-status.status" | "system-status.status" => summary.filter_map(|s| s.status.clone()).collect(),
        _ => summary.flat_map(|s| &s.details).filter_map(|detail| detail.status.clone()).collect(),
    }
}
