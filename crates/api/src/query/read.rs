//! From the tree of parameters to typed values.
//!
//! A value of a list is numbered from 1. Numbers give an order and no more: gaps are tolerated, and `10` comes behind `9`. Where a list is
//! *flattened*, as all of EC2's are, numbers stand right under its name (`Filter.1`); elsewhere under a name between (`Tags.Tag.1`,
//! `Tags.member.1`), and since clients disagree on which, both are understood there, and the flattened one as well.

use super::{INDEX_MAX, Node};
use crate::error::{ApiError, echo};
use crate::timestamp::Timestamp;
use std::fmt;

/// Where in a request one is: the name of a parameter, put together only when somebody has to be told.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    parent: Option<&'a At<'a>>,
    name: &'a str,
}

impl<'a> At<'a> {
    /// Above all parameters.
    pub const TOP: Self = At { parent: None, name: "" };

    /// A parameter that stands under no other.
    pub const fn root(name: &'a str) -> Self {
        At { parent: None, name }
    }

    /// The parameter of that name under this one.
    pub fn child(&'a self, name: &'a str) -> Self {
        At { parent: Some(self), name }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent {
            Some(parent) if parent.parent.is_some() || !parent.name.is_empty() => {
                write!(f, "{parent}.{}", echo(self.name))
            }
            _ => f.write_str(echo(self.name)),
        }
    }
}

impl Node {
    /// Refuses what is left under this parameter.
    ///
    /// # Errors
    /// `UnknownParameter`, which names the first one.
    pub fn finish(&self, at: &At<'_>) -> Result<(), ApiError> {
        match self.children.iter().next() {
            None => Ok(()),
            Some((name, child)) if child.value.is_some() => Err(ApiError::unknown_parameter(at.child(name))),
            Some((name, child)) => child.finish(&at.child(name)),
        }
    }

    /// Refuses a value where others stand under it.
    ///
    /// # Errors
    /// `UnknownParameter`: by this name alone there is no parameter.
    pub fn without_value(&self, at: &At<'_>) -> Result<(), ApiError> {
        if self.value.is_some() { Err(ApiError::unknown_parameter(at)) } else { Ok(()) }
    }

    fn scalar(self, at: &At<'_>) -> Result<String, ApiError> {
        self.finish(at)?;
        self.value.ok_or_else(|| ApiError::missing_parameter(at))
    }

    /// Takes the numbered children out.
    fn take_numbered(&mut self, within: Option<&'static str>, into: &mut Vec<(u32, Option<&'static str>, Node)>) {
        self.children.retain(|name, child| match index(name) {
            Some(index) => {
                into.push((index, within, std::mem::take(child)));
                false
            }
            None => true,
        });
    }
}

/// The number that a name is. `01` and `+1` are none: an element has one name only.
fn index(name: &str) -> Option<u32> {
    let is_number = name.bytes().all(|c| c.is_ascii_digit()) && !name.starts_with('0');
    name.parse().ok().filter(|index| is_number && *index <= INDEX_MAX)
}

/// What a parameter, or a row of them, can become.
pub trait FromQuery: Sized {
    /// Makes it out of a parameter, all of which it must understand.
    ///
    /// # Errors
    /// A value of the wrong kind, or a parameter under it that is missing or unknown.
    fn from_query(node: Node, at: &At<'_>) -> Result<Self, ApiError>;
}

impl FromQuery for String {
    fn from_query(node: Node, at: &At<'_>) -> Result<Self, ApiError> {
        node.scalar(at)
    }
}

impl FromQuery for bool {
    fn from_query(node: Node, at: &At<'_>) -> Result<Self, ApiError> {
        let text = node.scalar(at)?;
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(ApiError::invalid_value(&text, at, "Must be true or false.")),
        }
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl FromQuery for $number {
            fn from_query(node: Node, at: &At<'_>) -> Result<Self, ApiError> {
                let text = node.scalar(at)?;
                text.parse().map_err(|why: std::num::ParseIntError| match why.kind() {
                    std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                        let range = format_args!("Must be between {} and {}.", Self::MIN, Self::MAX);
                        ApiError::invalid_value(&text, at, range)
                    }
                    _ => ApiError::invalid_value(&text, at, "Must be an integer."),
                })
            }
        }
    )*};
}

numbers! { i32 i64 }

impl FromQuery for f64 {
    fn from_query(node: Node, at: &At<'_>) -> Result<Self, ApiError> {
        let text = node.scalar(at)?;
        text.parse().map_err(|_| ApiError::invalid_value(&text, at, "Must be a number."))
    }
}

impl FromQuery for Timestamp {
    fn from_query(node: Node, at: &At<'_>) -> Result<Self, ApiError> {
        let text = node.scalar(at)?;
        text.parse().map_err(|_| ApiError::invalid_value(&text, at, "Must be a time such as 2026-11-23T04:46:34.000Z."))
    }
}

impl<T: FromQuery> FromQuery for Box<T> {
    fn from_query(node: Node, at: &At<'_>) -> Result<Self, ApiError> {
        T::from_query(node, at).map(Self::new)
    }
}

/// What a member of a request can be: compulsory (a type itself), optional, or a list.
pub trait Field: Sized {
    /// Takes it out of the parameters of its structure. A list that is not flattened is named with its elements' name: `Tags/Tag`.
    ///
    /// # Errors
    /// What [`FromQuery`] finds, and a compulsory one that is not there.
    fn take(fields: &mut Node, name: &'static str, at: &At<'_>) -> Result<Self, ApiError>;
}

impl<T: FromQuery> Field for Option<T> {
    fn take(fields: &mut Node, name: &'static str, at: &At<'_>) -> Result<Self, ApiError> {
        fields.children.remove(name).map(|node| T::from_query(node, &at.child(name))).transpose()
    }
}

impl Field for String {
    fn take(fields: &mut Node, name: &'static str, at: &At<'_>) -> Result<Self, ApiError> {
        let value: Option<Self> = Field::take(fields, name, at)?;
        // An empty one is what clients send who had nothing to say.
        value.filter(|value| !value.is_empty()).ok_or_else(|| ApiError::missing_parameter(at.child(name)))
    }
}

impl<T: FromQuery> Field for Vec<T> {
    fn take(fields: &mut Node, name: &'static str, at: &At<'_>) -> Result<Self, ApiError> {
        let (name, element) = name.split_once('/').map_or((name, None), |(name, element)| (name, Some(element)));
        let Some(mut node) = fields.children.remove(name) else { return Ok(Self::new()) };
        let at = at.child(name);
        let mut items = Vec::new();
        node.take_numbered(None, &mut items);
        if let Some(element) = element {
            // `Tags=` says that a list is empty.
            node.value.take_if(|value| value.is_empty());
            for within in [element, "member"] {
                if let Some(mut between) = node.children.remove(within) {
                    between.take_numbered(Some(within), &mut items);
                    between.without_value(&at.child(within))?;
                    between.finish(&at.child(within))?;
                }
            }
        }
        node.without_value(&at)?;
        node.finish(&at)?;
        items.sort_by_key(|(index, ..)| *index);
        let read = |(index, within, node): (u32, Option<&str>, Node)| {
            let (index, between) = (index.to_string(), within.map(|within| at.child(within)));
            T::from_query(node, &between.as_ref().unwrap_or(&at).child(&index))
        };
        items.into_iter().map(read).collect()
    }
}

/// A list that must have something in it.
///
/// # Errors
/// `MissingParameter` for an empty one.
pub fn required<T>(list: Vec<T>, name: &str, at: &At<'_>) -> Result<Vec<T>, ApiError> {
    let name = name.split_once('/').map_or(name, |(name, _)| name);
    if list.is_empty() { Err(ApiError::missing_parameter(at.child(name))) } else { Ok(list) }
}
