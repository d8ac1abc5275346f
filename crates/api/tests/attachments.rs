//! Instances, attachments, changes and the health of volumes, as clients see them.

mod client;

use base::HostId;
use client::world::Mood;
use client::{Client, between};
use wire::{AilingVolume, VolumeCondition};

const A: &str = "i-00000000000000001";
const B: &str = "i-00000000000000002";

/// With an instance in each of the two zones.
fn client() -> Client {
    let mut c = Client::new();
    c.w.zone(0).hosts.insert(HostId(1), true);
    c.w.zone(1).hosts.insert(HostId(2), true);
    c.w.pass_ms(2000);
    c
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} in {text}");
    }
}

fn attach(c: &mut Client, volume: &str) -> String {
    c.ok(&format!("Action=AttachVolume&VolumeId={volume}&InstanceId={A}&Device=/dev/sdf"))
}

#[test]
fn a_volume_is_attached_seen_from_both_sides_and_detached() {
    let mut c = client();
    let id = c.create("&Size=10");
    let free = c.ok("Action=DescribeVolumes");
    has(&free, &["<attachmentSet/>", "<status>available</status>"]);
    let told = attach(&mut c, &id);
    has(
        &told,
        &[
            "<AttachVolumeResponse",
            &format!("<volumeId>{id}</volumeId>"),
            &format!("<instanceId>{A}</instanceId>"),
            "<device>/dev/sdf</device>",
            "<status>attaching</status>",
            "<attachTime>2025-11-30T10:53:20.000Z</attachTime>",
            "<deleteOnTermination>false</deleteOnTermination>",
        ],
    );
    let described = c.ok(&format!("Action=DescribeVolumes&Filter.1.Name=attachment.instance-id&Filter.1.Value.1={A}"));
    has(&described, &["<status>in-use</status>", "<status>attached</status>", "<device>/dev/sdf</device>"]);
    for (name, value) in [
        ("attachment.device", "/dev/sdf"),
        ("attachment.status", "attached"),
        ("attachment.delete-on-termination", "false"),
        ("attachment.attach-time", "2025-11-30T10:53:20.000Z"),
        ("status", "in-use"),
    ] {
        let found = c.ok(&format!("Action=DescribeVolumes&Filter.1.Name={name}&Filter.1.Value.1={value}"));
        assert!(found.contains(&id), "{name}: {found}");
        let none = c.ok(&format!("Action=DescribeVolumes&Filter.1.Name={name}&Filter.1.Value.1=x"));
        assert!(!none.contains(&id), "{name}: {none}");
    }
    let instance = c.ok(&format!("Action=DescribeInstances&InstanceId.1={A}"));
    has(&instance, &[&id, "<deviceName>/dev/sdf</deviceName>", "<status>attached</status>", "<name>running</name>"]);
    let told = c.ok(&format!("Action=DetachVolume&VolumeId={id}&InstanceId={A}&Device=/dev/sdf"));
    has(&told, &["<DetachVolumeResponse", "<status>detaching</status>"]);
    has(&c.ok("Action=DescribeVolumes"), &["<attachmentSet/>", "<status>available</status>"]);
    has(&c.ok(&format!("Action=DescribeInstances&InstanceId.1={A}")), &["<blockDeviceMapping/>"]);
}

#[test]
fn what_is_wrong_with_an_attachment_is_said_as_clients_expect_it() {
    let mut c = client();
    let (id, other) = (c.create("&Size=10"), c.create("&Size=10"));
    let on = |volume: &str, more: &str| format!("Action=AttachVolume&VolumeId={volume}&Device=/dev/sdf{more}");
    let off = |more: &str| format!("Action=DetachVolume&VolumeId={id}{more}");
    let to_a = format!("&InstanceId={A}");
    for (body, code, words) in [
        (on(&id, ""), "MissingParameter", "InstanceId"),
        (format!("Action=AttachVolume&VolumeId={id}{to_a}"), "MissingParameter", "Device"),
        (on("", &to_a), "MissingParameter", "VolumeId"),
        (on("vol-x", &to_a), "InvalidVolume.NotFound", "vol-x"),
        (on(&id, "&InstanceId=i-x"), "InvalidInstanceID.NotFound", "i-x"),
        (on(&id, "&InstanceId=i-00000000000000009"), "InvalidInstanceID.NotFound", "i-00000000000000009"),
        (
            on(&id, &format!("&InstanceId={B}")),
            "InvalidVolume.ZoneMismatch",
            "is not in the same availability zone as instance",
        ),
        (on(&id, &format!("{to_a}&EbsCardIndex=1")), "InvalidParameterValue", "ebsCardIndex"),
        (on(&id, &format!("{to_a}&DryRun=true")), "DryRunOperation", "Request would have succeeded"),
        (format!("Action=AttachVolume&VolumeId={id}{to_a}&Device=a+b"), "InvalidParameterValue", "unixDevice"),
        (off(""), "IncorrectState", &format!("Volume '{id}' is in the 'available' state.")),
        (off("&DryRun=true"), "DryRunOperation", ""),
    ] {
        let (status, is, message) = c.refused(&body);
        assert!(
            is == code && message.contains(words) && status == if code == "DryRunOperation" { 412 } else { 400 },
            "{body}: {is} {message}"
        );
    }
    attach(&mut c, &id);
    for (body, code, words) in [
        (on(&id, &to_a), "VolumeInUse", format!("{id} is already attached to an instance")),
        (on(&other, &to_a), "InvalidParameterValue", "Attachment point /dev/sdf is already in use".into()),
        (off(&format!("&InstanceId={B}")), "InvalidAttachment.NotFound", B.to_string()),
        (off("&Device=/dev/sdz"), "InvalidAttachment.NotFound", id.clone()),
        (
            format!("Action=DeleteVolume&VolumeId={id}"),
            "VolumeInUse",
            format!("Volume {id} is currently attached to {A}"),
        ),
    ] {
        let (_, is, message) = c.refused(&body);
        assert!(is == code && message.contains(&words), "{body}: {is} {message}");
    }
    c.w.zone(0).mood = Mood::Mute;
    c.ask("Action=CreateVolume&AvailabilityZone=local-1a&Size=11");
    c.w.run();
    let creating = c.ok("Action=DescribeVolumes&Filter.1.Name=size&Filter.1.Value.1=11");
    let creating = between(&creating, "<volumeId>", "</volumeId>").unwrap();
    let (_, code, message) = c.refused(&on(&creating, &to_a));
    assert_eq!((code.as_str(), message), ("IncorrectState", format!("{creating} is not 'available'.")));
}

#[test]
fn instances_are_hosts_with_whether_they_are_in_touch() {
    let mut c = client();
    let all = c.ok("Action=DescribeInstances");
    has(
        &all,
        &[
            A,
            B,
            "<availabilityZone>local-1b</availabilityZone>",
            "<instanceType>seawall.metal</instanceType>",
            "<code>16</code>",
        ],
    );
    for (name, value, found, not) in [
        ("availability-zone", "local-1b", B, A),
        ("availability-zone-id", "local-1-az1", A, B),
        ("instance-id", A, A, B),
    ] {
        let some = c.ok(&format!("Action=DescribeInstances&Filter.1.Name={name}&Filter.1.Value.1={value}"));
        assert!(some.contains(found) && !some.contains(not), "{name}: {some}");
    }
    let none = c.ok("Action=DescribeInstances&Filter.1.Name=tag:x&Filter.1.Value.1=y");
    has(&none, &["<reservationSet/>"]);
    let (_, code, message) =
        c.refused("Action=DescribeInstances&InstanceId.1=i-00000000000000009&InstanceId.2=nothing");
    assert!(code == "InvalidInstanceID.NotFound" && message.contains("i-00000000000000009, nothing"), "{message}");
    let (_, code, _) = c.refused("Action=DescribeInstances&Filter.1.Name=colour&Filter.1.Value.1=y");
    assert_eq!(code, "InvalidParameterValue");
    c.w.zone(0).hosts.insert(HostId(1), false);
    c.w.pass_ms(2000);
    let status = c.ok(&format!("Action=DescribeInstanceStatus&InstanceId.1={A}"));
    has(&status, &["<status>impaired</status>", "<name>reachability</name><status>failed</status>"]);
    let well = c.ok("Action=DescribeInstanceStatus&Filter.1.Name=instance-status.status&Filter.1.Value.1=ok");
    assert!(well.contains(B) && !well.contains(A), "{well}");
    c.w.zone(1).mood = Mood::Deaf;
    c.w.pass_ms(10_000);
    has(&c.ok(&format!("Action=DescribeInstanceStatus&InstanceId.1={B}")), &["<status>insufficient-data</status>"]);
    has(
        &c.ok("Action=DescribeInstanceTypes"),
        &["seawall.metal", "<maximumEbsAttachments>128</maximumEbsAttachments>"],
    );
    let (_, code, message) = c.refused("Action=DescribeInstanceTypes&InstanceType.1=m5.large");
    assert!(code == "InvalidInstanceType" && message.contains("[m5.large]"), "{message}");
}

#[test]
fn instances_come_page_by_page_each_once() {
    let mut c = client();
    c.w.zone(0).hosts.extend((10..22).map(|n| (HostId(n), true)));
    c.w.pass_ms(2000);
    let (mut ids, mut more) = (Vec::new(), String::new());
    loop {
        let page = c.ok(&format!("Action=DescribeInstances&MaxResults=5{more}"));
        ids.extend(page.split("<instanceId>").skip(1).map(|part| part[..19].to_string()));
        let Some(token) = between(&page, "<nextToken>", "</nextToken>") else { break };
        more = format!("&NextToken={token}");
    }
    let mut once = ids.clone();
    once.sort();
    once.dedup();
    assert_eq!((ids.len(), once), (14, ids));
}

#[test]
fn a_volume_is_modified_in_use_and_the_change_is_described() {
    let mut c = client();
    let id = c.create("&Size=100&VolumeType=gp3");
    let never = c.refused(&format!("Action=DescribeVolumesModifications&VolumeId.1={id}"));
    assert_eq!(never.1, "InvalidVolumeModification.NotFound");
    has(&c.ok("Action=DescribeVolumesModifications"), &["<volumeModificationSet/>"]);
    let told = c.ok(&format!("Action=ModifyVolume&VolumeId={id}&Size=200&Iops=4000"));
    has(
        &told,
        &[
            "<modificationState>modifying</modificationState>",
            "<targetSize>200</targetSize>",
            "<targetIops>4000</targetIops>",
            "<targetThroughput>125</targetThroughput>",
            "<originalSize>100</originalSize>",
            "<originalIops>3000</originalIops>",
            "<originalVolumeType>gp3</originalVolumeType>",
            "<progress>0</progress>",
        ],
    );
    let done = c.ok("Action=DescribeVolumesModifications&Filter.1.Name=modification-state&Filter.1.Value.1=completed");
    has(&done, &[&id, "<progress>100</progress>", "<endTime>"]);
    has(&c.ok("Action=DescribeVolumes"), &["<size>200</size>", "<iops>4000</iops>"]);
    // What is not named stays; of another type it is what that type is given.
    has(
        &c.ok(&format!("Action=ModifyVolume&VolumeId={id}&Throughput=500")),
        &["<targetIops>4000</targetIops>", "<targetThroughput>500</targetThroughput>"],
    );
    let other = c.ok(&format!("Action=ModifyVolume&VolumeId={id}&VolumeType=io1"));
    has(&other, &["<targetIops>3000</targetIops>", "<targetVolumeType>io1</targetVolumeType>"]);
    assert!(!other.contains("targetThroughput"), "{other}");
    has(
        &c.ok(&format!("Action=ModifyVolume&VolumeId={id}&VolumeType=gp2&Size=300")),
        &["<targetIops>900</targetIops>"],
    );
    has(&c.ok("Action=DescribeVolumes"), &["<volumeType>gp2</volumeType>", "<iops>900</iops>", "<size>300</size>"]);
}

#[test]
fn what_is_wrong_with_a_change_is_said_as_clients_expect_it() {
    let mut c = client();
    let (id, old) = (c.create("&Size=100&VolumeType=gp3"), c.create("&Size=100&VolumeType=standard"));
    let modify = |volume: &str, more: &str| format!("Action=ModifyVolume&VolumeId={volume}{more}");
    for (body, code, words) in [
        (modify("", "&Size=200"), "MissingParameter", "VolumeId"),
        (modify(&id, ""), "MissingParameter", "Size/VolumeType/Iops/Throughput"),
        (modify("vol-x", "&Size=200"), "InvalidVolume.NotFound", "vol-x"),
        (modify("vol-00000000000000009", "&Size=200"), "InvalidVolume.NotFound", "vol-00000000000000009"),
        (modify(&id, "&Size=99"), "InvalidParameterValue", "New size cannot be smaller than existing size (100GiB)."),
        (modify(&id, "&Size=70000"), "InvalidParameterValue", "too large"),
        (modify(&id, "&VolumeType=gp9"), "UnknownVolumeType", "gp9"),
        (modify(&id, "&Iops=2147483647"), "InvalidParameterValue", "too high; maximum is 80000."),
        (modify(&id, "&VolumeType=standard"), "UnsupportedOperation", "from gp3 to standard"),
        (modify(&old, "&VolumeType=gp3"), "UnsupportedOperation", "from standard to gp3"),
        (modify(&id, "&Size=200&MultiAttachEnabled=true"), "UnsupportedOperation", "several instances"),
        (modify(&id, "&Size=200&DryRun=true"), "DryRunOperation", ""),
    ] {
        let (_, is, message) = c.refused(&body);
        assert!(is == code && message.contains(words), "{body}: {is} {message}");
    }
    c.w.zone(0).mood = Mood::Full;
    c.ok(&modify(&id, "&Size=200"));
    let failed = c.ok(&format!("Action=DescribeVolumesModifications&VolumeId.1={id}"));
    has(&failed, &["<modificationState>failed</modificationState>", "<statusMessage>because NoRoom</statusMessage>"]);
    has(&c.ok(&format!("Action=DescribeVolumes&VolumeId.1={id}")), &["<size>100</size>"]);
    c.w.zone(0).mood = Mood::Unavailable;
    c.ok(&modify(&id, "&Size=200"));
    let (_, code, message) = c.refused(&modify(&id, "&Size=300"));
    let words = format!("Volume {id} cannot be modified in modification state MODIFYING");
    assert_eq!((code.as_str(), message), ("IncorrectModificationState", words));
}

#[test]
fn a_volume_that_stands_still_says_so_with_the_reason_and_since_when() {
    let mut c = client();
    let (id, well) = (c.create("&Size=1"), c.create("&Size=1"));
    attach(&mut c, &id);
    let volume = id.parse().unwrap();
    let status = |c: &mut Client, condition: VolumeCondition, waiting_ms| {
        c.w.zone(0).ailing = vec![AilingVolume { volume, condition, for_ms: 700, waiting_ms }];
        c.w.pass_ms(1000);
        c.ok(&format!("Action=DescribeVolumeStatus&VolumeId.1={id}"))
    };
    let before = c.ok("Action=DescribeVolumeStatus");
    has(
        &before,
        &[
            &id,
            &well,
            "<status>ok</status>",
            "<name>io-enabled</name><status>passed</status>",
            "<eventsSet/>",
            "<actionsSet/>",
        ],
    );
    for (condition, reason) in [
        (VolumeCondition::StuckElecting, "electing a primary"),
        (VolumeCondition::StuckAwaitingAuthority, "awaiting the zone's authority"),
        (VolumeCondition::StuckAwaitingMember, "awaiting a node that has a copy"),
        (VolumeCondition::Ok, "does not reach the volume's primary"),
    ] {
        let told = status(&mut c, condition, 2500);
        has(
            &told,
            &[
                reason,
                "<volumeStatus><details>",
                "<status>impaired</status>",
                "<eventType>io-performance:stalled</eventType>",
            ],
        );
        has(
            &told,
            &[
                "I/O of its instance has waited for 3 s.",
                "<notBefore>1970-01-01T00:16:4",
                &format!("<instanceId>{A}</instanceId>"),
            ],
        );
        has(&told, &["<ioPerformance>stalled</ioPerformance>", &id.replacen("vol-", "evol-", 1)]);
    }
    assert!(!status(&mut c, VolumeCondition::StuckElecting, 0).contains("has waited"));
    has(&status(&mut c, VolumeCondition::AtRisk, 0), &["<status>warning</status>", "one copy is left"]);
    has(&status(&mut c, VolumeCondition::Degraded, 0), &["<status>ok</status>", "io-performance:degraded"]);
    status(&mut c, VolumeCondition::StuckElecting, 0);
    for (name, value) in [
        ("volume-status.status", "impaired"),
        ("volume-status.details-name", "io-performance"),
        ("volume-status.details-status", "stalled"),
        ("event.event-type", "io-performance:stalled"),
        ("event.description", "*electing*"),
        ("availability-zone", "local-1a"),
    ] {
        let found = c.ok(&format!("Action=DescribeVolumeStatus&Filter.1.Name={name}&Filter.1.Value.1={value}"));
        assert!(found.contains(&id), "{name}: {found}");
    }
    let impaired = c.ok("Action=DescribeVolumeStatus&Filter.1.Name=volume-status.status&Filter.1.Value.1=impaired");
    assert!(!impaired.contains(&well), "{impaired}");
    c.w.zone(0).mood = Mood::Deaf;
    c.w.pass_ms(10_000);
    has(&c.ok("Action=DescribeVolumeStatus"), &["<status>insufficient-data</status>"]);
    let (_, code, _) = c.refused("Action=DescribeVolumeStatus&VolumeId.1=vol-00000000000000009");
    assert_eq!(code, "InvalidVolume.NotFound");
}

#[test]
fn what_an_account_wants_of_all_its_volumes_is_kept_and_obeyed() {
    let mut c = client();
    let on = "<ebsEncryptionByDefault>true</ebsEncryptionByDefault>";
    let off = "<ebsEncryptionByDefault>false</ebsEncryptionByDefault>";
    has(&c.ok("Action=GetEbsEncryptionByDefault"), &[off]);
    has(&c.ok("Action=EnableEbsEncryptionByDefault"), &[on]);
    has(&c.ok("Action=GetEbsEncryptionByDefault"), &[on]);
    let (_, code, message) = c.refused("Action=CreateVolume&AvailabilityZone=local-1a&Size=1");
    assert!(code == "UnsupportedOperation" && message.contains("DisableEbsEncryptionByDefault"), "{message}");
    has(&c.ok("Action=DisableEbsEncryptionByDefault"), &[off]);
    c.create("&Size=1");
    has(&c.ok("Action=GetEbsDefaultKmsKeyId"), &["<kmsKeyId>alias/aws/ebs</kmsKeyId>"]);
    has(&c.ok("Action=ModifyEbsDefaultKmsKeyId&KmsKeyId=arn:x"), &["<kmsKeyId>arn:x</kmsKeyId>"]);
    has(&c.ok("Action=GetEbsDefaultKmsKeyId"), &["<kmsKeyId>arn:x</kmsKeyId>"]);
    has(&c.ok("Action=ResetEbsDefaultKmsKeyId"), &["<kmsKeyId>alias/aws/ebs</kmsKeyId>"]);
    for (body, code) in [
        ("Action=ModifyEbsDefaultKmsKeyId&KmsKeyId=", "MissingParameter"),
        ("Action=ModifyEbsDefaultKmsKeyId&KmsKeyId=a+b", "InvalidParameterValue"),
        ("Action=EnableEbsEncryptionByDefault&DryRun=true", "DryRunOperation"),
        ("Action=GetEbsEncryptionByDefault&DryRun=true", "DryRunOperation"),
    ] {
        assert_eq!(c.refused(body).1, code, "{body}");
    }
    has(&c.ok("Action=GetEbsEncryptionByDefault"), &[off]);
}

#[test]
fn attributes_of_a_volume_are_kept_and_its_io_is_never_off() {
    let mut c = client();
    let id = c.create("&Size=1");
    let describe = format!("Action=DescribeVolumeAttribute&VolumeId={id}&Attribute=autoEnableIO");
    has(&c.ok(&describe), &[&id, "<autoEnableIO><value>false</value></autoEnableIO>"]);
    has(
        &c.ok(&format!("Action=ModifyVolumeAttribute&VolumeId={id}&AutoEnableIO.Value=true")),
        &["<return>true</return>"],
    );
    has(&c.ok(&describe), &["<autoEnableIO><value>true</value></autoEnableIO>"]);
    has(&c.ok(&format!("Action=EnableVolumeIO&VolumeId={id}")), &["<return>true</return>"]);
    let gone = "VolumeId=vol-00000000000000009";
    for (body, code) in [
        (format!("Action=EnableVolumeIO&{gone}"), "InvalidVolume.NotFound"),
        ("Action=EnableVolumeIO&VolumeId=".into(), "MissingParameter"),
        (format!("Action=ModifyVolumeAttribute&{gone}&AutoEnableIO.Value=true"), "InvalidVolume.NotFound"),
        (format!("Action=ModifyVolumeAttribute&VolumeId={id}"), "MissingParameter"),
        (format!("Action=DescribeVolumeAttribute&{gone}&Attribute=autoEnableIO"), "InvalidVolume.NotFound"),
        (format!("Action=DescribeVolumeAttribute&VolumeId={id}&Attribute=colour"), "InvalidParameterValue"),
        (format!("{describe}&DryRun=true"), "DryRunOperation"),
    ] {
        assert_eq!(c.refused(&body).1, code, "{body}");
    }
}
