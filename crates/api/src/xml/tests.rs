//! What answers look like where clients are particular about it.

use super::*;
use crate::ec2::{
    CreateVolumeRequest, DeleteVolumeRequest, DescribeTagsRequest, DescribeTagsResult, DescribeVolumesRequest,
    DescribeVolumesResult, InferenceAcceleratorInfo, InferenceDeviceInfo, Tag, Volume,
};
use crate::shape::Done;
use crate::shape::tests::Element;
use crate::sts::{GetCallerIdentityRequest, GetCallerIdentityResponse};

/// What stands behind the declaration.
fn body(document: &str) -> &str {
    document.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").expect("it says what it is")
}

fn written(value: &impl ToXml) -> String {
    let mut out = Writer::new();
    out.element("x", |out| value.write(out));
    out.finish()
}

#[test]
fn a_created_volume_has_no_empty_lists_unless_they_are_asked_for() {
    let volume = Volume { volume_id: Some("vol-1".into()), state: Some("creating".into()), ..Volume::default() };
    let head = "<CreateVolumeResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>";
    let wanted = format!("{head}<volumeId>vol-1</volumeId><status>creating</status></CreateVolumeResponse>");
    assert_eq!(body(&answer::<CreateVolumeRequest>(&volume, "r")), wanted);
    let wanted = format!(
        "{head}<tagSet/><volumeId>vol-1</volumeId><status>creating</status><attachmentSet/></CreateVolumeResponse>"
    );
    assert_eq!(body(&answer_keeping::<CreateVolumeRequest>(&volume, "r", &["attachmentSet", "tagSet"])), wanted);
}

#[test]
fn who_describes_nothing_is_told_so() {
    let answers = [
        (answer::<DescribeVolumesRequest>(&DescribeVolumesResult::default(), "r"), "<volumeSet/>"),
        (answer::<DescribeTagsRequest>(&DescribeTagsResult::default(), "r"), "<tagSet/>"),
    ];
    for (answer, empty) in answers {
        assert!(answer.contains(&format!("<requestId>r</requestId>{empty}</")), "{answer}");
    }
    let one = DescribeVolumesResult { volumes: vec![Volume::default()], next_token: None };
    let answer = answer_keeping::<DescribeVolumesRequest>(&one, "r", &["attachmentSet"]);
    assert!(answer.contains("<volumeSet><item><attachmentSet/></item></volumeSet>"), "{answer}");
}

#[test]
fn an_operation_without_answer_says_that_it_was_done() {
    let wanted = "<DeleteVolumeResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>\
        <return>true</return></DeleteVolumeResponse>";
    assert_eq!(body(&answer::<DeleteVolumeRequest>(&Done, "r")), wanted);
}

#[test]
fn the_other_protocol_has_a_result_and_metadata() {
    let who = GetCallerIdentityResponse { account: Some("000000000001".into()), ..Default::default() };
    let wanted = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
        <Account>000000000001</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId>\
        </ResponseMetadata></GetCallerIdentityResponse>";
    assert_eq!(body(&answer::<GetCallerIdentityRequest>(&who, "r")), wanted);
}

#[test]
fn the_one_list_whose_elements_have_another_name_has_it() {
    let some = InferenceAcceleratorInfo { accelerators: vec![InferenceDeviceInfo::default()], ..Default::default() };
    assert_eq!(written(&some), "<x><accelerators><member/></accelerators></x>");
}

#[test]
fn no_text_can_close_an_element_or_hide_behind_a_mark() {
    let tag = Tag { key: Some("</closed>&amp;".into()), value: Some("]]>\"'\r\n\té".into()) };
    let text = "<x><key>&lt;/closed&gt;&amp;amp;</key><value>]]&gt;&quot;'&#xD;\n\té</value></x>";
    assert_eq!(written(&tag), text);
}

#[test]
fn what_xml_forbids_is_dropped_and_what_was_meant_is_read_back() {
    assert_eq!(
        written(&"a\0\u{8}\u{b}\u{1f}\u{fffe}\u{ffff}b\u{7f}\u{10ffff}".to_owned()),
        "<x>ab\u{7f}\u{10ffff}</x>"
    );
    assert_eq!(written(&"\0".to_owned()), "<x/>");
    let all: String = (0..0x800).filter_map(char::from_u32).collect();
    let document = format!("<?xml version=\"1.0\"?>{}", written(&format!("|{all}|")));
    let read = format!("{:?}", Element::read(&document));
    let kept: String = all.chars().filter(|c| is_writable(*c)).collect();
    assert!(read.contains(&format!("{:?}", format!("|{kept}|"))), "{read}");
}

#[test]
fn numbers_and_times_are_written_as_they_are_read() {
    let cases = [
        (written(&-7_i32), "<x>-7</x>"),
        (written(&i64::MIN), "<x>-9223372036854775808</x>"),
        (written(&1.0_f64), "<x>1.0</x>"),
        (written(&f64::NEG_INFINITY), "<x>-Infinity</x>"),
        (written(&false), "<x>false</x>"),
        (written(&Timestamp(1)), "<x>1970-01-01T00:00:00.001Z</x>"),
    ];
    for (written, wanted) in cases {
        assert_eq!(written, wanted);
    }
}
