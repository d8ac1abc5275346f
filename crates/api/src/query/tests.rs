//! What clients send that is right, odd, or wrong.

use super::*;
use crate::ec2::{CreateTagsRequest, CreateVolumeRequest, DescribeVolumesRequest, Request, Tag};
use crate::shape::requests;
use crate::timestamp::Timestamp;
use crate::{Code, sts};

requests! {
    Listed {
        tags: Vec<Tag> = "Tags/Tag";
        ids: Vec<String> = "Ids/member";
        at: Option<Timestamp> = "At";
        ratio: Option<f64> = "Ratio";
        long: Option<i64> = "Long";
    }
}

fn read<T: FromQuery>(parameters: &str) -> Result<T, ApiError> {
    Query::parse(format!("Action=X&{parameters}").as_bytes())?.read()
}

fn refused<T: FromQuery>(parameters: &str) -> String {
    read::<T>(parameters).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_volume_is_asked_for_as_the_documentation_has_it() {
    let body = "Action=CreateVolume&Version=2016-11-15&Size=10&AvailabilityZone=eu-1a&DryRun=true\
        &TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=a+%2B%C3%A9";
    let request = Request::read(Query::parse(body.as_bytes()).unwrap()).unwrap();
    assert!(request.is_dry_run() && request.name() == "CreateVolume");
    let Request::CreateVolume(request) = request else { panic!("{request:?}") };
    assert_eq!((request.size, request.availability_zone.as_deref()), (Some(10), Some("eu-1a")));
    let tag = Tag { key: Some("Name".into()), value: Some("a +é".into()) };
    assert_eq!(request.tag_specifications[0].tags, [tag]);
    assert_eq!(request.tag_specifications[0].resource_type.as_deref(), Some("volume"));
}

#[test]
fn numbers_order_a_list_and_may_have_gaps() {
    let request: DescribeVolumesRequest = read("VolumeId.10=c&VolumeId.9=b&VolumeId.2=a&MaxResults=5").unwrap();
    assert_eq!(request.volume_ids, ["a", "b", "c"]);
    let request: DescribeVolumesRequest =
        read("Filter.3.Value.2=x&Filter.3.Name=status&Filter.3.Value.1=y&Filter.1.Name=size").unwrap();
    assert_eq!(request.filters[0].name.as_deref(), Some("size"));
    assert_eq!(request.filters[1].values, ["y", "x"]);
}

#[test]
fn lists_of_the_other_protocol_are_understood_in_every_spelling() {
    let tag = |key: &str| Tag { key: Some(key.into()), value: None };
    for spelling in
        ["Tags.Tag.1.Key=a&Tags.Tag.2.Key=b", "Tags.member.2.Key=b&Tags.member.1.Key=a", "Tags.1.Key=a&Tags.2.Key=b"]
    {
        assert_eq!(read::<Listed>(spelling).unwrap().tags, [tag("a"), tag("b")], "{spelling}");
    }
    assert_eq!(read::<Listed>("Tags=&Ids=").unwrap(), Listed::default());
    assert_eq!(refused::<Listed>("Tags=a"), "UnknownParameter: The parameter Tags is not recognized");
    assert_eq!(refused::<Listed>("Tags.Tog.1=a"), "UnknownParameter: The parameter Tags.Tog.1 is not recognized");
    assert_eq!(
        refused::<Listed>("Tags.Tag.1.Kay=a"),
        "UnknownParameter: The parameter Tags.Tag.1.Kay is not recognized"
    );
    assert_eq!(refused::<Listed>("Tags.member=a"), "UnknownParameter: The parameter Tags.member is not recognized");
}

#[test]
fn an_unknown_parameter_is_named() {
    let cases = [
        ("Sise=10", "Sise"),
        ("size=10", "size"),
        ("Size.1=10", "Size.1"),
        ("TagSpecification=volume", "TagSpecification"),
        ("TagSpecification.1=volume", "TagSpecification.1"),
        ("TagSpecification.1.Tag.1.Key.x=a", "TagSpecification.1.Tag.1.Key.x"),
        ("TagSpecification.1.Tag.1.Kind=a", "TagSpecification.1.Tag.1.Kind"),
        ("TagSpecification.0.ResourceType=volume", "TagSpecification.0.ResourceType"),
        ("TagSpecification.01.ResourceType=volume", "TagSpecification.01.ResourceType"),
        ("TagSpecification.65536.ResourceType=volume", "TagSpecification.65536.ResourceType"),
        ("TagSpecification.99999999999.ResourceType=volume", "TagSpecification.99999999999.ResourceType"),
        ("TagSpecification.-1.ResourceType=volume", "TagSpecification.-1.ResourceType"),
        ("TagSpecification.member.1.ResourceType=volume", "TagSpecification.member.1.ResourceType"),
        ("Operator=me", "Operator"),
        ("=10", ""),
        ("Size.=10", "Size."),
        (".Size=10", ".Size"),
    ];
    for (parameters, name) in cases {
        let wanted = format!("UnknownParameter: The parameter {name} is not recognized");
        assert_eq!(refused::<CreateVolumeRequest>(parameters), wanted, "{parameters}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_repeated_with_its_name() {
    let cases = [
        ("Size=ten", "Invalid value 'ten' for Size. Must be an integer."),
        ("Size=", "Invalid value '' for Size. Must be an integer."),
        ("Size", "Invalid value '' for Size. Must be an integer."),
        ("Size=1.5", "Invalid value '1.5' for Size. Must be an integer."),
        ("Size=+5", "Invalid value ' 5' for Size. Must be an integer."),
        ("Size=2147483648", "Invalid value '2147483648' for Size. Must be between -2147483648 and 2147483647."),
        ("Encrypted=yes", "Invalid value 'yes' for Encrypted. Must be true or false."),
        ("DryRun=1", "Invalid value '1' for DryRun. Must be true or false."),
    ];
    for (parameters, message) in cases {
        let error = read::<CreateVolumeRequest>(parameters).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (Code::InvalidParameterValue, message));
    }
    assert!(refused::<Listed>("At=yesterday").contains("'yesterday' for At. Must be a time"));
    assert!(refused::<Listed>("Ratio=half").contains("'half' for Ratio. Must be a number."));
    assert_eq!(read::<Listed>("At=1970-01-01T00%3A00%3A01Z&Long=-8000000000").unwrap().at, Some(Timestamp(1_000)));
    assert_eq!(read::<CreateVolumeRequest>("Encrypted=True&DryRun=FALSE").unwrap().encrypted, Some(true));
}

#[test]
fn a_compulsory_parameter_that_is_missing_is_named() {
    let missing = |body: &str| Request::read(Query::parse(body.as_bytes()).unwrap()).unwrap_err().to_string();
    let names = |name: &str| format!("MissingParameter: The request must contain the parameter {name}");
    assert_eq!(missing("Action=DeleteVolume"), names("VolumeId"));
    assert_eq!(missing("Action=DeleteVolume&VolumeId="), names("VolumeId"));
    assert_eq!(missing("Action=CreateTags&Tag.1.Key=a"), names("ResourceId"));
    assert_eq!(missing("Action=CreateTags&ResourceId.1=vol-1"), names("Tag"));
    let request: CreateTagsRequest = read("ResourceId.1=vol-1&Tag.1.Key=a&Tag.1.Value=").unwrap();
    assert_eq!(request.tags, [Tag { key: Some("a".into()), value: Some(String::new()) }]);
}

#[test]
fn what_is_no_form_is_malformed() {
    let cases = [
        "Size=%",
        "Size=%1",
        "Size=%G0",
        "Size=%+1",
        "%zz=1",
        "Size=%FF",
        "KmsKeyId=%C3",
        "KmsKeyId=%ED%A0%80",
        "Size=1&Size=2",
        "Size=1&Siz%65=1",
        "a.b.c.d.e.f.g.h.i.j.k.l.m=1",
    ];
    for parameters in cases {
        let error = read::<CreateVolumeRequest>(parameters).unwrap_err();
        assert_eq!(error.code, Code::MalformedQueryString, "{parameters}: {error}");
    }
    assert_eq!(Query::parse(b"Action=X&KmsKeyId=\xff").unwrap_err().code, Code::MalformedQueryString);
    assert_eq!(read::<CreateVolumeRequest>("KmsKeyId=a%00").unwrap_err().code, Code::InvalidCharacter);
    assert_eq!(read::<CreateVolumeRequest>("K%1b=a").unwrap_err().code, Code::InvalidCharacter);
}

#[test]
fn everything_is_bounded() {
    let too_many: String = (0..=PARAMETERS_MAX).map(|at| format!("&VolumeId.{}=v", at + 1)).collect();
    let cases = [
        too_many,
        format!("{}=1", "n".repeat(NAME_BYTES_MAX + 1)),
        format!("KmsKeyId={}", "v".repeat(VALUE_BYTES_MAX + 1)),
        "&".repeat(BODY_BYTES_MAX),
        format!("{}1=1", "a.".repeat(200)),
    ];
    for parameters in cases {
        let error = read::<DescribeVolumesRequest>(&parameters).unwrap_err();
        assert_eq!(error.code, Code::MalformedQueryString);
        assert!(error.message.len() < 300, "{error}");
    }
    let many: String = (1..PARAMETERS_MAX).map(|at| format!("&VolumeId.{at}=v")).collect();
    assert_eq!(read::<DescribeVolumesRequest>(&many).unwrap().volume_ids.len(), PARAMETERS_MAX - 1);
}

#[test]
fn an_operation_is_served_or_not_served_or_does_not_exist() {
    let answer = |body: &str| Query::parse(body.as_bytes()).and_then(Request::read).unwrap_err();
    assert_eq!(answer("Version=2016-11-15").code, Code::MissingAction);
    assert_eq!(answer("Action=").code, Code::MissingAction);
    assert_eq!(answer("").code, Code::MissingAction);
    assert_eq!(answer("Action=RunInstances&ImageId=ami-1").code, Code::UnsupportedOperation);
    let unknown = answer("Action=MakeVolume");
    assert_eq!(unknown.to_string(), "InvalidAction: The action MakeVolume is not valid for this web service.");
    assert_eq!(answer("Action=GetCallerIdentity").code, Code::InvalidAction, "it is of another service");
    assert_eq!(
        answer("Action.1=CreateVolume").to_string(),
        "UnknownParameter: The parameter Action.1 is not recognized"
    );
    let query = Query::parse(b"Action=GetCallerIdentity&Version=2011-06-15").unwrap();
    assert_eq!((query.version.as_str(), sts::Request::read(query.clone()).is_ok()), (sts::SERVICE.version, true));
}

#[test]
fn names_of_operations_are_sorted_so_that_they_can_be_looked_up() {
    for names in [crate::ec2::NAMES, sts::NAMES, Request::NAMES] {
        assert!(names.is_sorted());
    }
    assert!(Request::NAMES.iter().all(|name| crate::ec2::NAMES.binary_search(name).is_ok()));
}
