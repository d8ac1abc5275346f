//! How the protocol cases are judged, and a small reader of XML for it: order of elements and spelling of times do not count.

use super::Service;
use crate::query::{At, FromQuery, Node, Query};
use crate::timestamp::Timestamp;
use crate::xml::{ToXml, Writer, error, framed};
use crate::{ApiError, Code, ec2, sts};
use std::fmt::Debug;

/// A structure without members, asked or answered.
#[derive(Debug, Default)]
pub(super) struct Nothing;

impl FromQuery for Nothing {
    fn from_query(node: Node, at: &At<'_>) -> Result<Self, ApiError> {
        node.finish(at).map(|()| Self)
    }
}

impl ToXml for Nothing {
    fn write(&self, _: &mut Writer<'_>) {}
}

/// The body must be read as that. (Compared as printed, since NaN is not equal to itself.)
pub(super) fn reads<T: FromQuery + Debug>(action: &str, body: &str, want: T) {
    let query = Query::parse(body.as_bytes()).unwrap();
    assert_eq!((query.action.as_str(), query.version.as_str()), (action, "2020-01-08"));
    let read: T = query.read().unwrap();
    assert_eq!(format!("{read:?}"), format!("{want:?}"));
}

/// That must be written as the body, but for elements that our shapes lack.
pub(super) fn writes<T: ToXml>(
    service: Service,
    name: &str,
    output: Option<T>,
    kept: &[&str],
    body: &str,
    without: &[&str],
) {
    let written = framed(service, name, output.as_ref(), "requestid", kept);
    // What speaks of the request, and not of the output; real EC2 says `return` where its client's cases say nothing.
    let frame = ["requestId", "ResponseMetadata", "return"];
    let tree = |text| Element::read(text).pruned(&[without, &frame].concat());
    assert_eq!(tree(&written), tree(body), "{written}");
}

/// An element with those in it, or with text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    name: String,
    children: Vec<Element>,
    text: String,
}

impl Element {
    /// Reads a document. It panics at what is not well-formed.
    pub(crate) fn read(text: &str) -> Self {
        let text = text.trim();
        let mut rest = if text.starts_with("<?") { text.split_once("?>").unwrap().1 } else { text };
        let root = Self::one(&mut rest);
        assert_eq!(rest.trim(), "", "something stands behind the root");
        root
    }

    fn one(rest: &mut &str) -> Self {
        let (tag, behind) = rest.trim_start().strip_prefix('<').unwrap().split_once('>').unwrap();
        *rest = behind;
        let name = tag.trim_end_matches('/').split_whitespace().next().unwrap().to_owned();
        let mut element = Self { name, children: Vec::new(), text: String::new() };
        while !tag.ends_with('/') {
            let (text, _) = rest.split_at(rest.find('<').unwrap());
            element.text.push_str(text);
            *rest = &rest[text.len()..];
            if let Some(behind) = rest.strip_prefix("</") {
                let (closed, behind) = behind.split_once('>').unwrap();
                assert_eq!(closed, element.name);
                *rest = behind;
                break;
            }
            element.children.push(Self::one(rest));
        }
        element.text = unescaped(element.text.trim());
        element
    }

    /// Without those of some names, in an order that is always the same but within lists.
    fn pruned(mut self, without: &[&str]) -> Self {
        self.children.retain(|child| !without.contains(&child.name.as_str()));
        self.children = self.children.into_iter().map(|child| child.pruned(without)).collect();
        self.children.sort_by(|a, b| a.name.cmp(&b.name));
        if let Ok(time) = self.text.parse::<Timestamp>() {
            self.text = time.to_string();
        }
        self
    }
}

fn unescaped(text: &str) -> String {
    let marks = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#xD;", "\r"), ("&#xA;", "\n"), ("&amp;", "&")];
    marks.iter().fold(text.to_owned(), |text, (mark, c)| text.replace(mark, c))
}

#[test]
fn an_error_is_framed_as_clients_of_each_protocol_expect_it() {
    let what = ApiError::new(Code::InvalidParameterValue, "Hi");
    let ec2 = "<Response><Errors><Error><Code>InvalidParameterValue</Code><Message>Hi</Message></Error></Errors>\
        <RequestID>foo-id</RequestID></Response>";
    assert_eq!(error(ec2::SERVICE.protocol, &what, "foo-id").lines().nth(1), Some(ec2));
    let query = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidParameterValue</Code><Message>Hi</Message></Error>\
        <RequestId>foo-id</RequestId></ErrorResponse>";
    assert_eq!(error(sts::SERVICE.protocol, &what, "foo-id").lines().nth(1), Some(query));
    assert!(error(sts::SERVICE.protocol, &ApiError::internal(), "").contains("<Type>Receiver</Type>"));
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

#[test]
fn answers_with_all_their_members_are_those_that_botocore_was_seen_to_understand() {
    let answers = [ec2::Request::full_answers(), sts::Request::full_answers()].concat();
    let text: String = answers.iter().map(|(name, answer)| format!("{name}\n{answer}\n\n")).collect();
    answers.iter().for_each(|(_, answer)| drop(Element::read(answer)));
    let golden = format!("{GOLDEN}/answers.txt");
    if std::fs::read_to_string(&golden).unwrap_or_default() != text {
        let new = std::env::temp_dir().join("api-answers.txt");
        std::fs::write(&new, text).unwrap();
        panic!(
            "answers are others; if they should be:\ncp {} {golden}\nand ask xtask/aws-model/clients.py",
            new.display()
        );
    }
}

#[test]
fn requests_with_all_their_members_are_read_as_botocore_sends_them() {
    let text = std::fs::read_to_string(format!("{GOLDEN}/requests.txt")).unwrap();
    let mut names = Vec::new();
    for body in text.lines() {
        let query = Query::parse(body.as_bytes()).unwrap();
        let action = query.action.clone();
        let is_sts = query.version == sts::SERVICE.version;
        let (name, read) = if is_sts {
            let request = sts::Request::read(query).unwrap();
            (request.name(), format!("{request:?}"))
        } else {
            assert_eq!(query.version, ec2::SERVICE.version);
            let request = ec2::Request::read(query).unwrap();
            assert!(request.is_dry_run(), "{request:?}");
            (request.name(), format!("{request:?}"))
        };
        assert_eq!(name, action);
        assert!(!read.contains("None") && !read.contains("[]"), "a member was not read: {read}");
        assert!(!read.contains("Some(\"") || read.contains("a b+c&d=e%f/é~"), "{read}");
        names.push(name);
    }
    assert_eq!(names, [ec2::Request::NAMES, sts::Request::NAMES].concat());
}
