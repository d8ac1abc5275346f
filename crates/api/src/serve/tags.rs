//! Labels, in AWS's words: set, taken away, described, given along when something is made.

use super::filters::Filters;
use super::pages::Page;
use super::{Caller, Outcome, Told, volumes};
use crate::{ApiError, Code, ec2};
use region::{Change, Command, Region};

/// Labels of one thing, at most.
const TAGS_MAX: usize = 50;
/// Characters of a key, and of a value, at most.
const KEY_CHARS_MAX: usize = 127;
const VALUE_CHARS_MAX: usize = 255;
/// Things that one request labels, at most.
const RESOURCES_MAX: usize = 1000;

fn checked(tag: &ec2::Tag) -> Outcome<region::Tag> {
    let key = tag.key.clone().unwrap_or_default();
    let value = tag.value.clone().unwrap_or_default();
    let invalid = |what: String| Err(ApiError::new(Code::InvalidParameterValue, what));
    if key.is_empty() {
        return invalid("Tag key cannot be null or empty.".into());
    }
    if key.chars().count() > KEY_CHARS_MAX {
        return invalid(format!("Tag key exceeds the maximum length of {KEY_CHARS_MAX} characters"));
    }
    if value.chars().count() > VALUE_CHARS_MAX {
        return invalid(format!("Tag value exceeds the maximum length of {VALUE_CHARS_MAX} characters"));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return invalid("Tag keys starting with 'aws:' are reserved for internal use".into());
    }
    Ok(region::Tag { key, value })
}

fn all_checked(tags: &[ec2::Tag]) -> Outcome<Vec<region::Tag>> {
    if tags.len() > TAGS_MAX {
        let what = format!("The maximum number of Tags for a resource has been reached: {TAGS_MAX}.");
        return Err(ApiError::new(Code::TagLimitExceeded, what));
    }
    let mut checked: Vec<region::Tag> = tags.iter().map(checked).collect::<Result<_, _>>()?;
    checked.sort_by(|a, b| a.key.cmp(&b.key));
    if let Some(twice) = checked.windows(2).find(|pair| pair[0].key == pair[1].key) {
        let what = format!("Duplicate tag key '{}' specified.", crate::error::echo(&twice[0].key));
        return Err(ApiError::new(Code::InvalidParameterValue, what));
    }
    Ok(checked)
}

/// Labels that are given along with something that is made.
pub(super) fn specified(specifications: &[ec2::TagSpecification], kind: &str) -> Outcome<Vec<region::Tag>> {
    let mut tags = Vec::new();
    for specification in specifications {
        match specification.resource_type.as_deref() {
            Some(of) if of == kind => tags.extend(specification.tags.iter().cloned()),
            Some(of) => {
                let of = crate::error::echo(of);
                let what = format!("'{of}' is not a valid taggable resource type for this operation.");
                return Err(ApiError::new(Code::InvalidParameterValue, what));
            }
            None => {
                let what = "Tag specification resource type must have a value";
                return Err(ApiError::new(Code::InvalidParameterValue, what));
            }
        }
    }
    all_checked(&tags)
}

fn resources(texts: &[String]) -> Outcome<Vec<base::VolumeId>> {
    if texts.is_empty() {
        return Err(ApiError::missing_parameter("resourceIdSet"));
    }
    if texts.len() > RESOURCES_MAX {
        let what = format!("A request labels {RESOURCES_MAX} resources at most.");
        return Err(ApiError::new(Code::InvalidParameterValue, what));
    }
    texts.iter().map(|text| resource(text)).collect()
}

fn resource(text: &str) -> Outcome<base::VolumeId> {
    match text.split_once('-') {
        Some(("vol", _)) => volumes::id(text),
        Some(("snap", _)) => Err(ApiError::snapshots_not_found(&[text])),
        Some(("i", _)) => Err(ApiError::instances_not_found(&[text])),
        _ => Err(ApiError::new(Code::InvalidId, format!("The ID '{}' is not valid", crate::error::echo(text)))),
    }
}

pub(super) fn create(caller: &Caller, m: &ec2::CreateTagsRequest) -> Outcome<Command> {
    if m.tags.is_empty() {
        return Err(ApiError::missing_parameter("tagSet"));
    }
    let tags = all_checked(&m.tags)?;
    if m.dry_run == Some(true) {
        return Err(ApiError::dry_run());
    }
    let changes = tags.into_iter().map(Change::Set).collect();
    Ok(Command::Tag { account: caller.account, volumes: resources(&m.resources)?, changes })
}

pub(super) fn delete(caller: &Caller, m: &ec2::DeleteTagsRequest) -> Outcome<Command> {
    let removal = |tag: &ec2::Tag| {
        let key = tag.key.clone().filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| ApiError::new(Code::InvalidParameterValue, "Tag key cannot be null or empty."))?;
        Ok(Change::Remove { key, value: tag.value.clone() })
    };
    let changes: Vec<Change> = m.tags.iter().map(removal).collect::<Outcome<_>>()?;
    if m.dry_run == Some(true) {
        return Err(ApiError::dry_run());
    }
    // None named is all of them.
    let changes = if changes.is_empty() { vec![Change::RemoveAll] } else { changes };
    Ok(Command::Tag { account: caller.account, volumes: resources(&m.resources)?, changes })
}

pub(super) fn describe(
    region: &Region,
    caller: &Caller,
    m: &ec2::DescribeTagsRequest,
) -> Outcome<Told<ec2::DescribeTagsRequest>> {
    let filters = Filters::read(&m.filters, &["key", "resource-id", "resource-type", "tag-key", "tag:", "value"])?;
    let page = Page::read(m.max_results, m.next_token.as_deref(), false)?;
    // A page ends with a thing and a key of it.
    let after = match page.after.as_deref().map(|after| after.split_once('/')) {
        None => None,
        Some(Some((id, key))) => Some((volumes::id(id)?, key.to_owned())),
        Some(None) => {
            let why = "It is none that was given out here.";
            return Err(ApiError::invalid_value(m.next_token.as_deref().unwrap_or_default(), "nextToken", why));
        }
    };
    // From the thing itself on, since a page may end in the middle of its labels.
    let from = after.as_ref().map(|(id, _)| base::VolumeId(id.0.saturating_sub(1)));
    let (mut tags, mut next_token) = (Vec::new(), None);
    let all = region.volumes(caller.account, from).flat_map(|volume| volume.tags.iter().map(move |tag| (volume, tag)));
    for (volume, tag) in all {
        if after.as_ref().is_some_and(|(id, key)| (volume.id, &tag.key) <= (*id, key)) {
            continue;
        }
        let id = volume.id.to_string();
        let under = |name: &str| match name {
            "key" | "tag-key" => vec![tag.key.clone()],
            "value" => vec![tag.value.clone()],
            "resource-id" => vec![id.clone()],
            "resource-type" => vec!["volume".into()],
            _ => self::under(std::slice::from_ref(tag), name),
        };
        if !filters.hold(under) {
            continue;
        }
        if tags.len() == page.most {
            next_token = tags.last().map(|last: &ec2::TagDescription| {
                let (id, key) = (last.resource_id.as_deref(), last.key.as_deref());
                Page::token(&format!("{}/{}", id.unwrap_or_default(), key.unwrap_or_default()))
            });
            break;
        }
        tags.push(ec2::TagDescription {
            key: Some(tag.key.clone()),
            value: Some(tag.value.clone()),
            resource_id: Some(id),
            resource_type: Some("volume".into()),
        });
    }
    Ok(Told(ec2::DescribeTagsResult { next_token, tags }))
}

/// Labels, as answers have them.
pub(super) fn written(tags: &[region::Tag]) -> Vec<ec2::Tag> {
    tags.iter().map(|tag| ec2::Tag { key: Some(tag.key.clone()), value: Some(tag.value.clone()) }).collect()
}

/// What something with these labels has under the name of a filter.
pub(super) fn under(tags: &[region::Tag], name: &str) -> Vec<String> {
    match name {
        "tag-key" => tags.iter().map(|tag| tag.key.clone()).collect(),
        "tag-value" => tags.iter().map(|tag| tag.value.clone()).collect(),
        _ => match name.strip_prefix("tag:") {
            Some(key) => tags.iter().filter(|tag| tag.key == key).map(|tag| tag.value.clone()).collect(),
            None => vec![],
        },
    }
}
