//! What is counted and logged of the API, as an operator sees it. R24, R71: each operation alone.

mod client;

use api::front::{AccessKey, Front, Signed};
use api::serve::{Question, Written};
use api::telemetry::{Counter, Metrics, Subject, line};
use api::{ApiError, Code, Protocol, ec2, serve};
use base::time::Duration;
use client::world::{ME, Mood};
use client::{Client, between};
use region::ZoneNumber;
use std::collections::BTreeMap;

fn metrics() -> Metrics {
    Metrics::new("local-1", vec![("local-1a".into(), ZoneNumber(0)), ("local-1b".into(), ZoneNumber(1))])
}

const SOON: Duration = Duration::from_millis(3);

/// The samples of a page, by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_string(), value.parse().unwrap())
    };
    let all: Vec<_> = lines.map(sample).collect();
    let by_name: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(by_name.len(), all.len(), "a series stands on the page twice");
    by_name
}

fn requests(operation: &str, class: &str, zone: &str, outcome: &str) -> String {
    let zone = if zone.is_empty() { String::new() } else { format!("zone=\"{zone}\",") };
    format!(
        "seawall_api_requests_total{{operation=\"{operation}\",operation_class=\"{class}\",{zone}outcome=\"{outcome}\"}}"
    )
}

#[test]
fn requests_are_counted_by_operation_zone_and_outcome_and_errors_by_code() {
    let (mut c, mut m) = (Client::new(), metrics());
    c.w.pass_ms(2000);
    let made = c.told("Action=CreateVolume&AvailabilityZone=local-1b&Size=1");
    let volume = between(&made.body, "<volumeId>", "</volumeId>").unwrap();
    let id = volume.parse().ok();
    assert_eq!(made.subject.volume, id, "a volume that was made is named by its answer");
    let log = line(&made, "id-9", SOON).unwrap();
    for part in ["id=id-9 ", "operation=CreateVolume ", "zone=local-1b ", "outcome=ok "] {
        assert!(log.contains(part), "{log}");
    }
    assert!(log.contains(&format!("account={ME} ")) && log.contains(&format!("volume={volume} ")), "{log}");
    m.count(&made, SOON);
    // A volume's zone is that of whatever is asked about it, also when it is gone afterwards.
    m.count(
        &c.told(&format!("Action=AttachVolume&VolumeId={volume}&InstanceId=i-0000000000000beef&Device=/dev/sdf")),
        SOON,
    );
    m.count(&c.told(&format!("Action=CreateTags&ResourceId.1={volume}&Tag.1.Key=k&Tag.1.Value=v")), SOON);
    let deleted = c.told(&format!("Action=DeleteVolume&VolumeId={volume}"));
    assert_eq!((deleted.subject.zone.as_deref(), deleted.subject.volume), (Some("local-1b"), id));
    m.count(&deleted, SOON);
    m.count(&c.told("Action=DeleteVolume&VolumeId=vol-00000000000000bad"), SOON);
    m.count(&c.told("Action=DescribeVolumes"), SOON);
    let all = samples(&m.text(&[]));
    for (name, wanted) in [
        (requests("CreateVolume", "change", "local-1b", "ok"), 1.0),
        (requests("CreateVolume", "change", "local-1a", "ok"), 0.0),
        (requests("AttachVolume", "launch-attach", "local-1b", "client_error"), 1.0),
        (requests("CreateTags", "change", "local-1b", "ok"), 1.0),
        (requests("DeleteVolume", "change", "local-1b", "ok"), 1.0),
        (requests("DeleteVolume", "change", "", "client_error"), 1.0),
        (requests("DescribeVolumes", "describe", "", "ok"), 1.0),
        ("seawall_api_errors_total{operation=\"AttachVolume\",code=\"InvalidInstanceID.NotFound\"}".into(), 1.0),
        ("seawall_api_errors_total{operation=\"DeleteVolume\",code=\"InvalidVolume.NotFound\"}".into(), 1.0),
    ] {
        assert_eq!(all.get(&name), Some(&wanted), "{name}");
    }
    let sum: f64 = all.iter().filter(|(name, _)| name.starts_with("seawall_api_requests_total")).map(|(_, n)| n).sum();
    assert_eq!(sum, 6.0);
}

#[test]
fn a_zone_that_does_not_answer_is_a_failure_of_this_side_counted_for_that_zone_and_logged() {
    let (mut c, mut m) = (Client::new(), metrics());
    c.w.pass_ms(2000);
    c.w.zone(0).mood = Mood::Deaf;
    let begun = c.ask("Action=CreateVolume&AvailabilityZone=local-1a&Size=1");
    let serve::Begun::Waits(ticket) = begun else { panic!("{begun:?}") };
    c.w.pass_ms(6000);
    let result = c.w.replies.remove(&ticket).unwrap();
    let failed = c.desk.finish(ticket, result).unwrap();
    m.count(&failed, Duration::from_millis(5_001));
    let log = line(&failed, "id-1", Duration::from_millis(5_001)).unwrap();
    for part in
        [" zone=local-1a ", " volume=vol-", " outcome=server_error status=503 code=Unavailable duration_ms=5001.000"]
    {
        assert!(log.contains(part), "{log}");
    }
    let all = samples(&m.text(&[]));
    assert_eq!(all[&requests("CreateVolume", "change", "local-1a", "server_error")], 1.0);
    let labels = "operation=\"CreateVolume\",operation_class=\"change\",zone=\"local-1a\"";
    let bucket = |le: &str| all[&format!("seawall_api_request_duration_seconds_bucket{{{labels},le=\"{le}\"}}")];
    assert_eq!((bucket("5"), bucket("10"), bucket("+Inf")), (0.0, 1.0, 1.0));
}

/// An answer about an operation.
fn answer(operation: &'static str, code: Option<Code>) -> Written {
    let error = ApiError::new(code.unwrap_or(Code::InternalError), "x");
    let refused = serve::refused(Protocol::Ec2, &error, "r");
    Written { code, subject: Subject { operation: Some(operation), ..Subject::default() }, ..refused }
}

#[test]
fn the_buckets_of_a_histogram_are_cumulative_and_leave_out_what_was_refused() {
    let mut m = metrics();
    for (ms, times) in [(0, 1), (1, 1), (7, 3), (4_999, 2), (30_000, 1)] {
        (0..times).for_each(|_| m.count(&answer("DescribeVolumes", None), Duration::from_millis(ms)));
    }
    m.count(&answer("DescribeVolumes", Some(Code::InvalidParameterValue)), SOON);
    m.count(&answer("DescribeVolumes", Some(Code::RequestLimitExceeded)), SOON);
    let all = samples(&m.text(&[]));
    let name = "seawall_api_request_duration_seconds";
    let labels = "operation=\"DescribeVolumes\",operation_class=\"describe\"";
    let bounds =
        ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
    let counts = bounds.map(|le| all[&format!("{name}_bucket{{{labels},le=\"{le}\"}}")]);
    assert_eq!(counts, [2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 7.0, 7.0, 8.0]);
    assert_eq!(all[&format!("{name}_count{{{labels}}}")], 8.0);
    assert_eq!(all[&format!("{name}_sum{{{labels}}}")], 40.02);
}

#[test]
fn nobody_can_make_more_series_than_there_are_operations_zones_and_codes() {
    let mut m = metrics();
    let before = samples(&m.text(&[])).len();
    for n in 0..1_000 {
        let mut strange = answer("AttachVolume", None);
        strange.subject.zone = Some(format!("moon-{n}"));
        m.count(&strange, SOON);
        strange.subject = Subject::default();
        m.count(&strange, SOON);
    }
    // One histogram each, of the operation without a zone and of nobody's.
    assert_eq!(samples(&m.text(&[])).len(), before + 2 * 16);
    for code in Code::ALL {
        m.count(&answer("AttachVolume", Some(*code)), SOON);
        m.count(&answer("AttachVolume", Some(*code)), SOON);
    }
    assert_eq!(samples(&m.text(&[])).len(), before + 2 * 16 + Code::ALL.len());
}

#[test]
fn who_is_not_known_is_counted_for_no_operation_and_never_logged() {
    let key = AccessKey { id: "AK".into(), secret: "s".into(), account: ME };
    let front = Front::new("local-1", [key]);
    let body = b"Action=AttachVolume&Version=2016-11-15&VolumeId=vol-1";
    let signed = Signed { method: "POST", path: "/", query: "", headers: &[], body };
    let refused = front.read(&signed, 1_764_500_000_000, "id-1").unwrap_err();
    assert_eq!(refused.subject, Subject::default());
    assert_eq!(line(&refused, "id-1", SOON), None);
    let mut m = metrics();
    m.count(&refused, SOON);
    let all = samples(&m.text(&[]));
    assert_eq!(all[&requests("unknown", "unknown", "", "client_error")], 1.0);
    assert_eq!(all[&requests("AttachVolume", "launch-attach", "", "client_error")], 0.0);
}

#[test]
fn a_request_that_finds_no_room_is_counted_for_its_operation() {
    let mut c = Client::new();
    let question = Question::Ec2(Box::new(ec2::Request::DescribeVolumes(Default::default())));
    let refused = question.too_many(&c.caller());
    assert_eq!((refused.status, refused.code), (503, Some(Code::RequestLimitExceeded)));
    assert_eq!((refused.subject.operation, refused.subject.account), (Some("DescribeVolumes"), Some(ME)));
}

#[test]
fn the_page_says_how_full_the_region_is_and_which_zones_it_reaches() {
    let (mut c, mut m) = (Client::new(), metrics());
    assert_eq!(samples(&m.text(&[]))["seawall_region_ready"], 0.0);
    c.w.pass_ms(2000);
    m.look(&c.w.region);
    let counter = Counter { name: "seawall_log_lines_left_out_total", help: "Lines.", value: 7 };
    let text = m.text(&[counter]);
    let all = samples(&text);
    assert_eq!(all["seawall_region_ready"], 1.0);
    assert_eq!(all["seawall_region_zone_reached{zone=\"local-1b\"}"], 1.0);
    assert_eq!(all["seawall_region_queue_length{queue=\"commands\"}"], 0.0);
    assert!(all["seawall_region_queue_capacity{queue=\"zone_requests\"}"] > 0.0);
    assert_eq!(all["seawall_log_lines_left_out_total"], 7.0);
    // Each family is announced once, before its first sample, and every sample is of an announced family.
    let mut family = "";
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
            assert!(seen.insert(family), "{family} is announced twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(family), "{line} stands under {family}");
        }
    }
}

#[test]
fn what_the_alarm_rules_and_their_tests_name_is_what_the_page_has() {
    let mut m = metrics();
    m.count(&answer("AttachVolume", None), SOON);
    let mut c = Client::new();
    c.w.pass_ms(2000);
    m.look(&c.w.region);
    let text = m.text(&[Counter { name: "seawall_api_connections_refused_total", help: "x", value: 0 }]);
    let page = samples(&text);
    let rules = include_str!("../../../docs/alarms/region.rules.yml");
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: std::collections::BTreeSet<_> = words.filter(|word| word.starts_with("seawall_")).collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        let is_of =
            |series: &String| series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        assert!(page.keys().any(is_of), "{name} is on no page");
    }
    let tests = include_str!("../../../docs/alarms/region.test.yml");
    let series = tests.lines().filter_map(|line| between(line, "series: '", "'"));
    let api: Vec<_> = series.filter(|series| series.starts_with("seawall_api_requests_total")).collect();
    assert!(api.len() > 5, "{api:?}");
    for series in api {
        // What the one who scrapes adds is not on the page.
        let own = series.replace("job=\"seawall-region\",", "");
        assert!(page.contains_key(&own), "{own} is on no page");
    }
}
