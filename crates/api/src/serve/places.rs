//! Where things are: the region and its zones.

use super::filters::Filters;
use super::{Outcome, Told};
use crate::{ApiError, Code, ec2};
use region::{Region, ZoneNumber};

/// The region and its zones, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    region: String,
    /// Where the region's API is, as clients reach it.
    endpoint: String,
    zones: Vec<(String, ZoneNumber)>,
}

impl Places {
    /// Of a region at an address, with zones by name.
    pub fn new(region: impl Into<String>, endpoint: impl Into<String>, zones: Vec<(String, ZoneNumber)>) -> Self {
        Self { region: region.into(), endpoint: endpoint.into(), zones }
    }

    /// A zone's name.
    pub(super) fn name_of(&self, zone: ZoneNumber) -> &str {
        self.zones.iter().find(|(_, number)| *number == zone).map_or("?", |(name, _)| name)
    }

    /// A zone's id, by which accounts mean the same place whatever they call it. Here all call it the same.
    pub(super) fn id_of(&self, zone: ZoneNumber) -> String {
        format!("{}-az{}", self.region, zone.0 + 1)
    }

    /// The zone that a request means by name or by id, of which it says exactly one.
    pub(super) fn meant(&self, name: Option<&str>, id: Option<&str>) -> Result<ZoneNumber, ApiError> {
        let found = match (name, id) {
            (Some(_), Some(_)) => {
                let what = "The parameters AvailabilityZone and AvailabilityZoneId cannot be used together.";
                return Err(ApiError::new(Code::InvalidParameterCombination, what));
            }
            (None, None) => return Err(ApiError::missing_parameter("AvailabilityZone/AvailabilityZoneId")),
            (Some(name), None) => self.zones.iter().find(|(known, _)| known == name),
            (None, Some(id)) => self.zones.iter().find(|(_, number)| self.id_of(*number) == id),
        };
        let asked = name.or(id).unwrap_or_default();
        found.map(|(_, number)| *number).ok_or_else(|| ApiError::zone_not_found(asked))
    }

    pub(super) fn regions(&self, m: &ec2::DescribeRegionsRequest) -> Outcome<Told<ec2::DescribeRegionsRequest>> {
        let filters = Filters::read(&m.filters, &["endpoint", "opt-in-status", "region-name"])?;
        if let Some(name) = m.region_names.iter().find(|name| **name != self.region) {
            return Err(ApiError::invalid_value(name, "regionName", "There is no such region."));
        }
        let has = |name: &str| match name {
            "endpoint" => vec![self.endpoint.clone()],
            "region-name" => vec![self.region.clone()],
            _ => vec!["opt-in-not-required".to_string()],
        };
        let region = ec2::Region {
            opt_in_status: Some("opt-in-not-required".into()),
            region_name: Some(self.region.clone()),
            endpoint: Some(self.endpoint.clone()),
            ..ec2::Region::default()
        };
        let regions = filters.hold(has).then_some(region).into_iter().collect();
        Ok(Told(ec2::DescribeRegionsResult { regions }))
    }

    pub(super) fn zones(
        &self,
        m: &ec2::DescribeAvailabilityZonesRequest,
        region: &Region,
    ) -> Outcome<Told<ec2::DescribeAvailabilityZonesRequest>> {
        const KNOWN: [&str; 11] = [
            "group-long-name",
            "group-name",
            "message",
            "opt-in-status",
            "parent-zone-id",
            "parent-zone-name",
            "region-name",
            "state",
            "zone-id",
            "zone-name",
            "zone-type",
        ];
        let filters = Filters::read(&m.filters, &KNOWN)?;
        let is_known = |name: &&String| self.zones.iter().any(|(known, _)| known == *name);
        if let Some(name) = m.zone_names.iter().find(|name| !is_known(name)) {
            return Err(ApiError::zone_not_found(name));
        }
        if let Some(id) = m.zone_ids.iter().find(|id| self.meant(None, Some(id)).is_err()) {
            return Err(ApiError::zone_not_found(id));
        }
        let zones = self.zones.iter().map(|(name, number)| self.zone(name, *number, region));
        let is_named = |zone: &ec2::AvailabilityZone| {
            let among = |names: &[String], name: &Option<String>| {
                names.is_empty() || name.as_ref().is_some_and(|name| names.contains(name))
            };
            among(&m.zone_names, &zone.zone_name) && among(&m.zone_ids, &zone.zone_id)
        };
        let holds = |zone: &ec2::AvailabilityZone| {
            filters.hold(|name| {
                let of = |value: &Option<String>| value.iter().cloned().collect();
                match name {
                    "group-name" => of(&zone.group_name),
                    "message" => zone.messages.iter().filter_map(|m| m.message.clone()).collect(),
                    "opt-in-status" => of(&zone.opt_in_status),
                    "region-name" => of(&zone.region_name),
                    "state" => of(&zone.state),
                    "zone-id" => of(&zone.zone_id),
                    "zone-name" => of(&zone.zone_name),
                    "zone-type" => of(&zone.zone_type),
                    _ => vec![],
                }
            })
        };
        let availability_zones = zones.filter(is_named).filter(holds).collect();
        Ok(Told(ec2::DescribeAvailabilityZonesResult { availability_zones }))
    }

    fn zone(&self, name: &str, number: ZoneNumber, region: &Region) -> ec2::AvailabilityZone {
        let reached = region.is_reached(number) == Some(true);
        let state = if reached { "available" } else { "impaired" };
        let message = |text: &str| ec2::AvailabilityZoneMessage { message: Some(text.into()) };
        ec2::AvailabilityZone {
            opt_in_status: Some("opt-in-not-required".into()),
            messages: if reached { vec![] } else { vec![message("The zone's authority cannot be reached.")] },
            region_name: Some(self.region.clone()),
            zone_name: Some(name.into()),
            zone_id: Some(self.id_of(number)),
            group_name: Some(self.region.clone()),
            network_border_group: Some(self.region.clone()),
            zone_type: Some("availability-zone".into()),
            state: Some(state.into()),
            ..ec2::AvailabilityZone::default()
        }
    }
}

pub(super) fn attributes(
    m: &ec2::DescribeAccountAttributesRequest,
) -> Outcome<Told<ec2::DescribeAccountAttributesRequest>> {
    const ALL: [(&str, &str); 2] = [("supported-platforms", "VPC"), ("default-vpc", "none")];
    if let Some(name) = m.attribute_names.iter().find(|name| ALL.iter().all(|(known, _)| known != name)) {
        return Err(ApiError::invalid_value(name, "attributeName", "There is no such attribute."));
    }
    let wanted = |name: &str| m.attribute_names.is_empty() || m.attribute_names.iter().any(|wanted| wanted == name);
    let attribute = |(name, value): (&str, &str)| ec2::AccountAttribute {
        attribute_name: Some(name.into()),
        attribute_values: vec![ec2::AccountAttributeValue { attribute_value: Some(value.into()) }],
    };
    let account_attributes = ALL.into_iter().filter(|(name, _)| wanted(name)).map(attribute).collect();
    Ok(Told(ec2::DescribeAccountAttributesResult { account_attributes }))
}
