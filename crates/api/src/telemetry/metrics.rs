//! The counts: how often each operation ended how, with which errors, and how long it took; and how full the region is.

use super::exposition::Text;
use super::{Class, Ended, Subject, UNKNOWN};
use crate::serve::Written;
use crate::{ec2, sts};
use base::time::Duration;
use region::{Phase, Region, ZoneNumber};
use std::collections::BTreeMap;

/// Upper bounds of the buckets, in seconds as they are written and in nanoseconds. Behind the region's five seconds there is one more, for what was given up.
const BUCKETS: [(&str, u64); 13] = [
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("5", 5_000_000_000),
    ("10", 10_000_000_000),
];

/// Operations that name a zone, or a volume and so its zone. For these a series of each zone is there from the beginning: what first appears with a count has no rate.
const OF_ZONES: [&str; 10] = [
    "AttachVolume",
    "CreateTags",
    "CreateVolume",
    "DeleteTags",
    "DeleteVolume",
    "DescribeVolumeAttribute",
    "DetachVolume",
    "EnableVolumeIO",
    "ModifyVolume",
    "ModifyVolumeAttribute",
];

const REQUESTS: &str = "seawall_api_requests_total";
const ERRORS: &str = "seawall_api_errors_total";
const DURATION: &str = "seawall_api_request_duration_seconds";

/// A count that somebody else keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Its name, which ends in `_total`.
    pub name: &'static str,
    /// What it counts, a sentence.
    pub help: &'static str,
    /// How many.
    pub value: u64,
}

/// How long requests took. What each bucket has is its own; they are summed up when they are told.
#[derive(Debug, Clone, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len() + 1],
    sum_ns: u64,
}

impl Histogram {
    fn note(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let at = BUCKETS.iter().position(|(_, bound)| ns <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[at] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Of one operation in one zone.
#[derive(Debug, Clone, Default)]
struct Series {
    ended: [u64; Ended::ALL.len()],
    took: Histogram,
}

/// How full the region was when it was looked at last.
#[derive(Debug, Clone, Default)]
struct Gauges {
    ready: bool,
    reached: Vec<bool>,
    queues: [(usize, usize); 3],
}

/// The counts of one region's API.
#[derive(Debug, Clone)]
pub struct Metrics {
    region: String,
    zones: Vec<(String, ZoneNumber)>,
    /// By operation and zone, a place in `zones`; an operation that named none is at none.
    series: BTreeMap<(&'static str, Option<usize>), Series>,
    errors: BTreeMap<(&'static str, &'static str), u64>,
    gauges: Gauges,
}

impl Metrics {
    /// Of a region of that name, with these zones. Nothing has been counted.
    pub fn new(region: impl Into<String>, zones: Vec<(String, ZoneNumber)>) -> Self {
        let operations = ec2::Request::NAMES.iter().chain(sts::Request::NAMES).chain([&UNKNOWN]);
        let mut series: BTreeMap<_, _> = operations.map(|name| ((*name, None), Series::default())).collect();
        for operation in OF_ZONES {
            series.extend((0..zones.len()).map(|zone| ((operation, Some(zone)), Series::default())));
        }
        Self { region: region.into(), zones, series, errors: BTreeMap::new(), gauges: Gauges::default() }
    }

    /// Counts an answer, and how long it took from when the request was there.
    pub fn count(&mut self, written: &Written, took: Duration) {
        let Subject { operation, zone, .. } = &written.subject;
        let operation = operation.unwrap_or(UNKNOWN);
        let zone = zone.as_ref().and_then(|zone| self.zones.iter().position(|(name, _)| name == zone));
        debug_assert!(zone.is_none() || OF_ZONES.contains(&operation), "{operation} names a zone");
        let ended = Ended::with(written.code);
        // Operations and zones are all known, so that there is such a series.
        let series = self.series.entry((operation, zone)).or_default();
        series.ended[ended as usize] += 1;
        // What is refused is refused at once; it would hide how long the others wait.
        if matches!(ended, Ended::Ok | Ended::ServerError) {
            series.took.note(took);
        }
        if let Some(code) = written.code {
            *self.errors.entry((operation, code.wire())).or_default() += 1;
        }
    }

    /// Looks at how full the region is.
    pub fn look(&mut self, region: &Region) {
        let reached = self.zones.iter().map(|(_, number)| region.is_reached(*number) == Some(true));
        self.gauges.reached.clear();
        self.gauges.reached.extend(reached);
        self.gauges.ready = *region.phase() == Phase::Ready;
        self.gauges.queues = region.fills();
    }

    /// All of it as Prometheus reads it, with what others counted.
    pub fn text(&self, others: &[Counter]) -> String {
        let mut text = Text::default();
        self.requests(&mut text);
        self.durations(&mut text);
        self.fills(&mut text);
        for Counter { name, help, value } in others {
            text.family(name, "counter", help);
            text.sample(name, &[], value);
        }
        text.done()
    }

    fn zone(&self, at: Option<usize>) -> &str {
        at.map_or("", |at| &self.zones[at].0)
    }

    fn requests(&self, text: &mut Text) {
        text.family(REQUESTS, "counter", "Requests answered, by operation, the zone they named and how they ended.");
        for ((operation, zone), series) in &self.series {
            for ended in Ended::ALL {
                let labels = [
                    ("operation", *operation),
                    ("operation_class", class(operation)),
                    ("zone", self.zone(*zone)),
                    ("outcome", ended.name()),
                ];
                text.sample(REQUESTS, &labels, series.ended[ended as usize]);
            }
        }
        text.family(ERRORS, "counter", "Requests answered with an error, by operation and the error's code.");
        for ((operation, code), count) in &self.errors {
            text.sample(ERRORS, &[("operation", operation), ("code", code)], count);
        }
    }

    fn durations(&self, text: &mut Text) {
        let help = "How long requests took from when they were read to their answer; those refused for what or how much was asked are left out.";
        text.family(DURATION, "histogram", help);
        let (bucket, sum, count) =
            (format!("{DURATION}_bucket"), format!("{DURATION}_sum"), format!("{DURATION}_count"));
        for ((operation, zone), Series { took, .. }) in self.series.iter().filter(|(_, s)| s.took.count() > 0) {
            let labels = [("operation", *operation), ("operation_class", class(operation)), ("zone", self.zone(*zone))];
            let [a, b, c] = labels;
            let bounds = BUCKETS.iter().map(|(bound, _)| *bound).chain(["+Inf"]);
            let mut below = 0;
            for (bound, more) in bounds.zip(took.buckets) {
                below += more;
                text.sample(&bucket, &[a, b, c, ("le", bound)], below);
            }
            let (seconds, ns) = (took.sum_ns / 1_000_000_000, took.sum_ns % 1_000_000_000);
            text.sample(&sum, &labels, format_args!("{seconds}.{ns:09}"));
            text.sample(&count, &labels, took.count());
        }
    }

    fn fills(&self, text: &mut Text) {
        const QUEUES: [&str; 3] = ["commands", "zone_requests", "zone_commands"];
        let Gauges { ready, reached, queues } = &self.gauges;
        text.family("seawall_region_info", "gauge", "Which region this is, and its build.");
        let version = env!("CARGO_PKG_VERSION");
        text.sample("seawall_region_info", &[("region", &self.region), ("version", version)], 1);
        text.family("seawall_region_ready", "gauge", "Whether the region has read its metadata and serves.");
        text.sample("seawall_region_ready", &[], u8::from(*ready));
        text.family("seawall_region_zone_reached", "gauge", "Whether the authority of a zone can be reached.");
        for ((name, _), reached) in self.zones.iter().zip(reached) {
            text.sample("seawall_region_zone_reached", &[("zone", name)], u8::from(*reached));
        }
        let help =
            "How much waits: commands for the metadata, requests for zones, and commands that zones have not answered.";
        text.family("seawall_region_queue_length", "gauge", help);
        for (queue, (length, _)) in QUEUES.iter().zip(queues) {
            text.sample("seawall_region_queue_length", &[("queue", queue)], length);
        }
        text.family("seawall_region_queue_capacity", "gauge", "How much may wait; more is refused.");
        for (queue, (_, capacity)) in QUEUES.iter().zip(queues) {
            text.sample("seawall_region_queue_capacity", &[("queue", queue)], capacity);
        }
    }
}

fn class(operation: &str) -> &'static str {
    Class::of(Some(operation).filter(|name| *name != UNKNOWN)).name()
}
