//! How volumes are: what could not be seen in 2011 (R43). A volume whose I/O stands still says so, with the reason and since when.

use super::filters::Filters;
use super::pages::Page;
use super::{Caller, Desk, Outcome, Told, attachments, volumes};
use crate::{ApiError, ec2};
use region::{Health, Region, Stage, Volume};
use wire::VolumeCondition;

const FILTERS: [&str; 15] = [
    "action.code",
    "action.description",
    "action.event-id",
    "availability-zone",
    "availability-zone-id",
    "event.description",
    "event.event-id",
    "event.event-type",
    "event.not-after",
    "event.not-before",
    "operator.managed",
    "operator.principal",
    "volume-status.details-name",
    "volume-status.details-status",
    "volume-status.status",
];

/// What is told of a volume's health.
struct Finding {
    status: &'static str,
    io_enabled: &'static str,
    io_performance: &'static str,
    /// The type of the event, what it says, and since when, in milliseconds since 1970.
    event: Option<(&'static str, String, u64)>,
}

fn finding(health: &Health) -> Finding {
    use ec2::values::volume_status_info_status as words;
    let (enabled, normal) = ("passed", "normal");
    let (condition, since_ms, waiting_ms) = match health {
        Health::Unknown => {
            let unknown = words::INSUFFICIENT_DATA;
            return Finding { status: unknown, io_enabled: unknown, io_performance: unknown, event: None };
        }
        Health::Well => {
            return Finding { status: words::OK, io_enabled: enabled, io_performance: normal, event: None };
        }
        Health::Ailing { condition, since_ms, waiting_ms } => (condition, *since_ms, *waiting_ms),
    };
    let stands = |why: &str| {
        let waits = if waiting_ms == 0 {
            String::new()
        } else {
            format!(" I/O of its instance has waited for {} s.", waiting_ms.div_ceil(1000))
        };
        let text =
            format!("I/O stands still: {why}.{waits} It goes on by itself, and nothing that was acknowledged is lost.");
        let event = Some(("io-performance:stalled", text, since_ms));
        Finding { status: words::IMPAIRED, io_enabled: enabled, io_performance: "stalled", event }
    };
    let lacks = |status, io_performance, why: &str| {
        let event = Some(("io-performance:degraded", format!("{why} I/O goes on meanwhile."), since_ms));
        Finding { status, io_enabled: enabled, io_performance, event }
    };
    match condition {
        VolumeCondition::StuckElecting => stands("electing a primary"),
        VolumeCondition::StuckAwaitingAuthority => stands("awaiting the zone's authority"),
        VolumeCondition::StuckAwaitingMember => stands("awaiting a node that has a copy"),
        _ if waiting_ms > 0 => stands("the instance does not reach the volume's primary"),
        VolumeCondition::AtRisk => {
            lacks(words::WARNING, "degraded", "At risk: one copy is left; another is being made.")
        }
        _ => lacks(words::OK, normal, "A copy is missing; another is being made."),
    }
}

impl Desk {
    fn status(&self, region: &Region, volume: &Volume) -> ec2::VolumeStatusItem {
        let found = finding(&region.health(volume));
        let detail = |name: &str, status: &str| ec2::VolumeStatusDetails {
            name: Some(name.into()),
            status: Some(status.into()),
        };
        let host = volume.attachment.as_ref().map(|attachment| attachment.host.to_string());
        let event = |(event_type, description, since_ms): (&str, String, u64)| ec2::VolumeStatusEvent {
            description: Some(description),
            // One volume has one ailment at a time.
            event_id: Some(volume.id.to_string().replacen("vol-", "evol-", 1)),
            event_type: Some(event_type.into()),
            // To the second, as the zone measured it.
            not_before: Some(attachments::at(since_ms / 1000 * 1000)),
            not_after: None,
            instance_id: host.clone(),
        };
        let performance = |instance_id: String| ec2::VolumeStatusAttachmentStatus {
            io_performance: Some(found.io_performance.into()),
            instance_id: Some(instance_id),
        };
        ec2::VolumeStatusItem {
            availability_zone: Some(self.places.name_of(volume.shape.zone).into()),
            availability_zone_id: Some(self.places.id_of(volume.shape.zone)),
            volume_id: Some(volume.id.to_string()),
            attachment_statuses: host.clone().map(performance).into_iter().collect(),
            volume_status: Some(ec2::VolumeStatusInfo {
                status: Some(found.status.into()),
                details: vec![detail("io-enabled", found.io_enabled), detail("io-performance", found.io_performance)],
            }),
            events: found.event.map(event).into_iter().collect(),
            ..ec2::VolumeStatusItem::default()
        }
    }

    pub(super) fn describe_status(
        &self,
        region: &Region,
        caller: &Caller,
        m: &ec2::DescribeVolumeStatusRequest,
    ) -> Outcome<Told<ec2::DescribeVolumeStatusRequest>> {
        let filters = Filters::read(&m.filters, &FILTERS)?;
        let page = Page::read(m.max_results, m.next_token.as_deref(), !m.volume_ids.is_empty())?;
        if m.dry_run == Some(true) {
            return Err(ApiError::dry_run());
        }
        let named = volumes::named(region, caller, &m.volume_ids)?;
        let found = volumes::from(region, caller, named, &page)?
            .filter(|volume| volume.stage == Stage::There)
            .map(|volume| self.status(region, volume))
            .filter(|item| filters.hold(|name| under(item, name)));
        let (volume_statuses, next_token) = page.cut(found, |item| item.volume_id.clone().unwrap_or_default());
        Ok(Told(ec2::DescribeVolumeStatusResult { next_token, volume_statuses }))
    }
}

fn under(item: &ec2::VolumeStatusItem, name: &str) -> Vec<String> {
    let events = |of: fn(&ec2::VolumeStatusEvent) -> Option<String>| item.events.iter().filter_map(of).collect();
    let details = |of: fn(&ec2::VolumeStatusDetails) -> Option<String>| {
        item.volume_status.iter().flat_map(|status| &status.details).filter_map(of).collect()
    };
    match name {
        "availability-zone" => item.availability_zone.iter().cloned().collect(),
        "availability-zone-id" => item.availability_zone_id.iter().cloned().collect(),
        "event.description" => events(|event| event.description.clone()),
        "event.event-id" => events(|event| event.event_id.clone()),
        "event.event-type" => events(|event| event.event_type.clone()),
        "event.not-before" => events(|event| event.not_before.map(|at| at.to_string())),
        "operator.managed" => vec!["false".into()],
        "volume-status.details-name" => details(|detail| detail.name.clone()),
        "volume-status.details-status" => details(|detail| detail.status.clone()),
        "volume-status.status" => item.volume_status.iter().filter_map(|status| status.status.clone()).collect(),
        _ => Vec::new(),
    }
}
