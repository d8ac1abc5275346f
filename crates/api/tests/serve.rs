//! Operations as clients see them: a body goes in, a document comes out, and in between a region over zones that obey.

mod client;

use api::query::Query;
use api::serve::{Begun, Question};
use api::sts;
use client::world::{ME, Mood};
use client::{Client, between};
use region::ZoneNumber;

#[test]
fn a_volume_is_made_described_labelled_and_deleted() {
    let mut c = Client::new();
    let made = c.ok(
        "Action=CreateVolume&Version=2016-11-15&AvailabilityZone=local-1b&Size=10&VolumeType=gp3&Iops=4000&Throughput=200&ClientToken=abc\
         &TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=a+b",
    );
    for part in [
        "<CreateVolumeResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">",
        "<requestId>request-1</requestId>",
        "<status>creating</status>",
        "<availabilityZone>local-1b</availabilityZone>",
        "<availabilityZoneId>local-1-az2</availabilityZoneId>",
        "<size>10</size>",
        "<volumeType>gp3</volumeType>",
        "<iops>4000</iops>",
        "<throughput>200</throughput>",
        "<encrypted>false</encrypted>",
        "<multiAttachEnabled>false</multiAttachEnabled>",
        "<tagSet><item><key>Name</key><value>a b</value></item></tagSet>",
        "<createTime>2025-11-30T10:53:20.000Z</createTime>",
    ] {
        assert!(made.contains(part), "{part} in {made}");
    }
    assert!(!made.contains("attachmentSet") && !made.contains("kmsKeyId"));
    let id = between(&made, "<volumeId>", "</volumeId>").unwrap();
    let described = c.ok("Action=DescribeVolumes");
    assert!(described.contains(&id) && described.contains("<status>available</status>"), "{described}");
    assert!(
        c.ok(&format!("Action=CreateTags&ResourceId.1={id}&Tag.1.Key=b&Tag.1.Value=2"))
            .contains("<return>true</return>")
    );
    c.ok(&format!("Action=DeleteTags&ResourceId.1={id}&Tag.1.Key=Name"));
    let tags = c.ok("Action=DescribeTags");
    assert!(tags.contains("<key>b</key>") && !tags.contains("Name"), "{tags}");
    let labelled = c.ok("Action=DescribeVolumes&Filter.1.Name=tag%3Ab&Filter.1.Value.1=2");
    assert!(labelled.contains(&id));
    assert!(c.ok(&format!("Action=DeleteVolume&VolumeId={id}")).contains("<return>true</return>"));
    let gone = c.refused(&format!("Action=DescribeVolumes&VolumeId.1={id}"));
    assert_eq!((gone.0, gone.1.as_str()), (400, "InvalidVolume.NotFound"));
    assert!(gone.2.contains(&id));
}

#[test]
fn an_empty_list_of_tags_is_left_out_of_what_create_answers_and_volumes_without_any_are_described() {
    let mut c = Client::new();
    let made = c.ok("Action=CreateVolume&AvailabilityZoneId=local-1-az1&Size=1");
    assert!(
        !made.contains("tagSet") && made.contains("<iops>100</iops>") && made.contains("<volumeType>gp2</volumeType>")
    );
    assert!(!made.contains("throughput"));
    assert!(Client::new().ok("Action=DescribeVolumes").contains("<volumeSet/>"));
}

#[test]
fn the_same_client_token_is_the_same_volume_and_other_parameters_are_a_mistake() {
    let mut c = Client::new();
    let first = c.create("&Size=10&ClientToken=t");
    assert_eq!(c.create("&Size=10&ClientToken=t"), first);
    assert_ne!(c.create("&Size=10&ClientToken=T"), first);
    // Where it is does not count as another parameter.
    let elsewhere = c.ok("Action=CreateVolume&AvailabilityZone=local-1b&Size=10&ClientToken=t");
    assert!(elsewhere.contains(&first));
    for other in [
        "&Size=11",
        "&Size=10&VolumeType=gp3",
        "&Size=10&TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=a",
    ] {
        let (status, code, _) =
            c.refused(&format!("Action=CreateVolume&AvailabilityZone=local-1a{other}&ClientToken=t"));
        assert_eq!((status, code.as_str()), (400, "IdempotentParameterMismatch"));
    }
}

#[test]
fn what_is_wrong_with_a_request_is_said_as_clients_expect_it() {
    let mut c = Client::new();
    let id = c.create("&Size=1");
    let zone = "&AvailabilityZone=local-1a";
    for (body, status, code, words) in [
        ("CreateVolume&Size=1".to_string(), 400, "MissingParameter", "The request must contain the parameter"),
        (
            format!("CreateVolume{zone}"),
            400,
            "MissingParameter",
            "The request must contain the parameter size/snapshot",
        ),
        (
            "CreateVolume&Size=1&AvailabilityZone=moon-1a".into(),
            400,
            "InvalidZone.NotFound",
            "The zone 'moon-1a' does not exist.",
        ),
        (format!("CreateVolume&Size=1{zone}&AvailabilityZoneId=local-1-az1"), 400, "InvalidParameterCombination", ""),
        (format!("CreateVolume&Size=1{zone}&VolumeType=gp9"), 400, "UnknownVolumeType", "gp9"),
        (format!("CreateVolume&Size=big{zone}"), 400, "InvalidParameterValue", "big"),
        (
            format!("CreateVolume&Size=1{zone}&Iops=2147483647&VolumeType=gp3&DryRun=true"),
            400,
            "InvalidParameterValue",
            "Volume iops of 2147483647 is too high; maximum is 80000.",
        ),
        (
            format!("CreateVolume&Size=1{zone}&Iops=100&DryRun=true"),
            400,
            "InvalidParameterCombination",
            "The parameter iops is not supported for gp2 volumes.",
        ),
        (
            format!("CreateVolume&Size=1{zone}&DryRun=true"),
            412,
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        ),
        (format!("CreateVolume&Size=1{zone}&KmsKeyId=k"), 400, "InvalidParameterDependency", "Encrypted"),
        (format!("CreateVolume&Size=1{zone}&Encrypted=true"), 400, "UnsupportedOperation", "encrypted"),
        (format!("CreateVolume{zone}&SnapshotId=snap-1"), 400, "UnsupportedOperation", "snapshot"),
        (format!("CreateVolume&Size=1{zone}&MultiAttachEnabled=true"), 400, "InvalidParameterDependency", "gp2"),
        (format!("CreateVolume&Size=1{zone}&Colour=red"), 400, "UnknownParameter", "Colour"),
        (
            format!("CreateVolume&Size=1{zone}&ClientToken={}", "x".repeat(65)),
            400,
            "InvalidParameterValue",
            "clientToken",
        ),
        (
            format!(
                "CreateVolume&Size=1{zone}&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a"
            ),
            400,
            "InvalidParameterValue",
            "'instance' is not a valid taggable resource type",
        ),
        ("DeleteVolume&VolumeId=vol-nonsense".into(), 400, "InvalidVolume.NotFound", "vol-nonsense"),
        ("DeleteVolume&VolumeId=vol-00000000000000009&DryRun=true".into(), 412, "DryRunOperation", ""),
        ("DeleteVolume".into(), 400, "MissingParameter", "VolumeId"),
        (
            "DescribeVolumes&VolumeId.1=vol-00000000000000009&VolumeId.2=vol-x".into(),
            400,
            "InvalidVolume.NotFound",
            "'vol-00000000000000009, vol-x'",
        ),
        (format!("DescribeVolumes&VolumeId.1={id}&MaxResults=5"), 400, "InvalidParameterCombination", ""),
        ("DescribeVolumes&MaxResults=4".into(), 400, "InvalidParameterValue", ""),
        ("DescribeVolumes&NextToken=zzz".into(), 400, "InvalidParameterValue", ""),
        (
            "DescribeVolumes&Filter.1.Name=color&Filter.1.Value.1=red".into(),
            400,
            "InvalidParameterValue",
            "The filter 'color' is invalid",
        ),
        ("DescribeAvailabilityZones&DryRun=true".into(), 412, "DryRunOperation", ""),
        ("DescribeAvailabilityZones&ZoneName.1=moon".into(), 400, "InvalidZone.NotFound", "moon"),
        ("DescribeRegions&RegionName.1=moon".into(), 400, "InvalidParameterValue", "moon"),
        (format!("CreateTags&ResourceId.1={id}"), 400, "MissingParameter", ""),
        (format!("CreateTags&ResourceId.1={id}&Tag.1.Key=aws:x"), 400, "InvalidParameterValue", "reserved"),
        (
            format!("CreateTags&ResourceId.1={id}&Tag.1.Key=a&Tag.2.Key=a"),
            400,
            "InvalidParameterValue",
            "Duplicate tag key 'a'",
        ),
        (format!("CreateTags&ResourceId.1={id}&Tag.1.Key={}", "k".repeat(128)), 400, "InvalidParameterValue", "127"),
        ("CreateTags&ResourceId.1=snap-1&Tag.1.Key=a".into(), 400, "InvalidSnapshot.NotFound", "snap-1"),
        ("CreateTags&ResourceId.1=x&Tag.1.Key=a".into(), 400, "InvalidID", "'x'"),
        ("RunInstances&ImageId=ami-1&MinCount=1&MaxCount=1".into(), 400, "UnsupportedOperation", "RunInstances"),
        ("CreateSnapshot&VolumeId=vol-1".into(), 400, "UnsupportedOperation", "CreateSnapshot"),
        ("MakeCoffee".into(), 400, "InvalidAction", "The action MakeCoffee is not valid for this web service."),
    ] {
        let said = c.refused(&format!("Action={body}"));
        assert_eq!((said.0, said.1.as_str()), (status, code), "{body}: {}", said.2);
        assert!(said.2.contains(words), "{body}: {}", said.2);
    }
    assert_eq!(c.w.region.volumes(ME, None).count(), 1);
}

#[test]
fn volumes_come_page_by_page_each_once() {
    let mut c = Client::new();
    let mut made: Vec<String> = (0..23).map(|n| c.create(&format!("&Size={}", 1 + n % 3))).collect();
    made.sort();
    for filter in ["", "&Filter.1.Name=size&Filter.1.Value.1=1&Filter.1.Value.2=2&Filter.1.Value.3=3"] {
        let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = c.ok(&format!("Action=DescribeVolumes&MaxResults=5{filter}{token}"));
            seen.extend(page.split("<volumeId>").skip(1).map(|rest| rest[..21].to_string()));
            pages += 1;
            match between(&page, "<nextToken>", "</nextToken>") {
                Some(next) => token = format!("&NextToken={next}"),
                None => break,
            }
        }
        assert_eq!((seen, pages), (made.clone(), 5));
    }
    // A volume that is gone meanwhile does not break the order of those that follow.
    let page = c.ok("Action=DescribeVolumes&MaxResults=5");
    let next = between(&page, "<nextToken>", "</nextToken>").unwrap();
    c.ok(&format!("Action=DeleteVolume&VolumeId={}", made[4]));
    assert!(c.ok(&format!("Action=DescribeVolumes&MaxResults=5&NextToken={next}")).contains(&made[5]));
}

#[test]
fn labels_come_page_by_page_also_from_the_middle_of_a_volume() {
    let mut c = Client::new();
    let ids = [c.create("&Size=1"), c.create("&Size=1")];
    for id in &ids {
        let tags: Vec<String> = (1..=6).map(|n| format!("&Tag.{n}.Key=k{n}&Tag.{n}.Value=v")).collect();
        c.ok(&format!("Action=CreateTags&ResourceId.1={id}{}", tags.concat()));
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = c.ok(&format!(
            "Action=DescribeTags&MaxResults=5&Filter.1.Name=resource-type&Filter.1.Value.1=volume{token}"
        ));
        seen.extend(
            page.split("<item>")
                .skip(1)
                .map(|item| (between(item, "<resourceId>", "<").unwrap(), between(item, "<key>", "<").unwrap())),
        );
        match between(&page, "<nextToken>", "</nextToken>") {
            Some(next) => token = format!("&NextToken={next}"),
            None => break,
        }
    }
    let mut expected: Vec<(String, String)> =
        ids.iter().flat_map(|id| (1..=6).map(move |n| (id.clone(), format!("k{n}")))).collect();
    expected.sort();
    assert_eq!(seen, expected);
    assert!(c.ok(&format!("Action=DeleteTags&ResourceId.1={}", ids[0])).contains("true"));
    assert_eq!(c.ok("Action=DescribeTags").matches("<item>").count(), 6, "none named is all of them");
}

#[test]
fn a_full_zone_and_a_silent_one_are_told_apart() {
    // R31, R32.
    let mut c = Client::new();
    c.w.zone(0).mood = Mood::Full;
    let (status, code, _) = c.refused("Action=CreateVolume&AvailabilityZone=local-1a&Size=1");
    assert_eq!((status, code.as_str()), (503, "InsufficientVolumeCapacity"));
    c.w.zone(0).mood = Mood::Deaf;
    let Begun::Waits(ticket) = c.ask("Action=CreateVolume&AvailabilityZone=local-1a&Size=1") else { panic!() };
    // Others are served meanwhile, and what describes waits for nobody.
    assert!(c.ok("Action=CreateVolume&AvailabilityZone=local-1b&Size=1").contains("creating"));
    assert!(c.ok("Action=DescribeVolumes").contains("local-1a"));
    c.w.pass_ms(5001);
    let late = c.w.replies.remove(&ticket).unwrap();
    let late = c.desk.finish(ticket, late).unwrap();
    assert!(late.status == 503 && late.body.contains("Unavailable"), "{}", late.body);
    assert!(c.desk.finish(ticket, Ok(region::Answer::Done)).is_none(), "nobody waits any more");
}

#[test]
fn places_are_described_with_what_is_wrong_with_them() {
    // R63.
    let mut c = Client::new();
    let zones = c.ok("Action=DescribeAvailabilityZones");
    assert_eq!(zones.matches("<zoneState>available</zoneState>").count(), 2, "{zones}");
    c.w.link(ZoneNumber(1), false);
    c.w.run();
    let zones = c.ok("Action=DescribeAvailabilityZones&Filter.1.Name=state&Filter.1.Value.1=impaired");
    assert!(
        zones.contains("local-1b") && !zones.contains("local-1a") && zones.contains("cannot be reached"),
        "{zones}"
    );
    assert!(c.ok("Action=DescribeAvailabilityZones&ZoneId.1=local-1-az1").contains("local-1a"));
    assert!(c.ok("Action=DescribeRegions").contains("<regionName>local-1</regionName>"));
    assert!(c.ok("Action=DescribeAccountAttributes&AttributeName.1=supported-platforms").contains("VPC"));
}

#[test]
fn who_asks_who_he_is_is_told() {
    let mut c = Client::new();
    let caller = c.caller();
    let query = Query::parse(b"Action=GetCallerIdentity&Version=2011-06-15").unwrap();
    let question = Question::Sts(sts::Request::read(query).unwrap());
    let Begun::Answered(told) = c.desk.ask(&mut c.w.region, caller, question) else { panic!() };
    assert!(told.status == 200 && told.body.contains("<Account>123456789012</Account>"), "{}", told.body);
    assert!(told.body.contains("<GetCallerIdentityResult>"));
}
