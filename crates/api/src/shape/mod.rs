//! The shapes of requests and answers, and what is known of an operation.
//!
//! Generated files say one line a member; the macros here make types of them, with the names by which a member is read and written. A list
//! that has a name for its elements gives both, with a slash between: `volumeSet/item`, `Tags/Tag`. A flattened list has its name alone
//! in a request, and ends with the slash in an answer.
//!
//! ```text
//! requests! { Filter { name: Option<String> = "Name"; values: Vec<String> = "Value"; } }
//! answers! { DescribeTagsResult { next_token: Option<String> = "nextToken"; tags: Vec<TagDescription> = "tagSet/item"; } }
//! both! { Tag { key: Option<String> = "Key" "key"; value: Option<String> = "Value" "value"; } }
//! operations! { Request of SERVICE dry_run { CreateVolume(CreateVolumeRequest) -> Volume; DeleteVolume(DeleteVolumeRequest); } }
//! values! { volume_state { CREATING = "creating"; AVAILABLE = "available"; } }
//! ```
//!
//! Members of requests that are compulsory have their type bare, all others are `Option` or `Vec`. Enumerations are open: they are text,
//! since AWS adds to them at any time, and `values!` names those that our own code speaks of.

#[cfg(test)]
pub(crate) mod filled;
#[cfg(test)]
mod protocol;
#[cfg(test)]
pub(crate) mod tests;

use crate::query::FromQuery;
use crate::xml::ToXml;

/// How a service's requests and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// EC2's own: flattened lists, members right under the root, an error among errors.
    Ec2,
    /// That of STS and RDS: lists with a name between, a result and its metadata, an error with a type.
    AwsQuery,
}

/// A service, as its answers name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// How it speaks.
    pub protocol: Protocol,
    /// The namespace of its answers.
    pub namespace: &'static str,
    /// The version that it speaks, which well-meaning clients send along.
    pub version: &'static str,
}

/// What is known of an operation; implemented by its request.
pub trait Operation: FromQuery {
    /// Its name.
    const NAME: &'static str;
    /// Whose it is.
    const SERVICE: Service;
    /// Whether its answer has anything in it but that it was done.
    const HAS_OUTPUT: bool;
    /// Lists of its answer that are written even when they are empty, as whoever describes nothing is told.
    const KEEPS: &'static [&'static str];
    /// Its answer.
    type Output: ToXml;

    /// Whether the client asked only if it would work.
    fn is_dry_run(&self) -> bool;
}

/// The answer of an operation that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done;

impl ToXml for Done {
    fn write(&self, _: &mut crate::xml::Writer<'_>) {}
}

macro_rules! request_impl {
    ($name:ident { $($field:ident $key:literal $($must:ident)?;)* }) => {
        impl $crate::query::FromQuery for $name {
            #[allow(unused_mut, reason = "a structure may be empty")]
            fn from_query(mut node: $crate::query::Node, at: &$crate::query::At<'_>) -> Result<Self, $crate::ApiError> {
                node.without_value(at)?;
                let this = Self { $($field: {
                    let value = $crate::query::Field::take(&mut node, $key, at)?;
                    $(let value = $crate::query::$must(value, $key, at)?;)?
                    value
                },)* };
                node.finish(at)?;
                Ok(this)
            }
        }
    };
}

macro_rules! answer_impl {
    ($name:ident { $($field:ident $tag:literal;)* }) => {
        impl $crate::xml::ToXml for $name {
            fn write(&self, out: &mut $crate::xml::Writer<'_>) {
                $($crate::xml::Part::write_as(&self.$field, $tag, out);)*
                let _ = out;
            }
        }

        #[cfg(test)]
        impl $crate::shape::filled::Filled for $name {
            fn filled() -> Self {
                Self { $($field: $crate::shape::filled::Filled::filled(),)* }
            }
        }
    };
}

macro_rules! requests {
    ($($name:ident { $($field:ident: $kind:ty = $($must:ident)? $key:literal;)* })*) => {$(
        #[doc = concat!("`", stringify!($name), "`, as AWS's model has it.")]
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name { $(#[doc = concat!("Parameter `", $key, "`.")] pub $field: $kind,)* }
        $crate::shape::request_impl! { $name { $($field $key $($must)?;)* } }
    )*};
}

macro_rules! answers {
    ($($name:ident { $($field:ident: $kind:ty = $tag:literal;)* })*) => {$(
        #[doc = concat!("`", stringify!($name), "`, as AWS's model has it.")]
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name { $(#[doc = concat!("Element `", $tag, "`.")] pub $field: $kind,)* }
        $crate::shape::answer_impl! { $name { $($field $tag;)* } }
    )*};
}

macro_rules! both {
    ($($name:ident { $($field:ident: $kind:ty = $($must:ident)? $key:literal $tag:literal;)* })*) => {$(
        #[doc = concat!("`", stringify!($name), "`, as AWS's model has it.")]
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name { $(#[doc = concat!("Parameter `", $key, "`, element `", $tag, "`.")] pub $field: $kind,)* }
        $crate::shape::request_impl! { $name { $($field $key $($must)?;)* } }
        $crate::shape::answer_impl! { $name { $($field $tag;)* } }
    )*};
}

macro_rules! operations {
    (@output) => { $crate::shape::Done };
    (@output $output:ident) => { $output };
    (@has) => { false };
    (@has $output:ident) => { true };
    (@dry dry_run $this:ident) => { $this.dry_run == Some(true) };
    (@dry wet $this:ident) => { false };
    ($all:ident of $service:ident $dry:ident {
        $($name:ident($input:ident) $(-> $output:ident $(keeps $($kept:literal)+)?)?;)*
    }) => {
        /// A request, understood.
        #[derive(Debug, Clone, PartialEq)]
        pub enum $all { $(#[doc = concat!("`", stringify!($name), "`.")] $name($input),)* }

        impl $all {
            /// The operations that are served, by name.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// Makes a typed request of one that was taken apart.
            ///
            /// # Errors
            /// `UnsupportedOperation` for an operation that is not served, `InvalidAction` for one that AWS does not have either, and
            /// whatever is wrong with its parameters.
            pub fn read(query: $crate::query::Query) -> Result<Self, $crate::ApiError> {
                match query.action.as_str() {
                    $(stringify!($name) => query.read().map(Self::$name),)*
                    name if super::NAMES.binary_search(&name).is_ok() => Err($crate::ApiError::unsupported_operation(name)),
                    name => Err($crate::ApiError::invalid_action(name)),
                }
            }

            /// The name of the operation.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }

            /// Every operation's answer with all that can be in it.
            #[cfg(test)]
            pub(crate) fn full_answers() -> Vec<(&'static str, String)> {
                use $crate::{shape::{Operation, filled::Filled}, xml::answer};
                vec![$((
                    stringify!($name),
                    answer::<$input>(&<<$input as Operation>::Output as Filled>::filled(), "id"),
                )),*]
            }

            /// Whether the client asked only if it would work.
            pub fn is_dry_run(&self) -> bool {
                match self { $(Self::$name(request) => $crate::shape::Operation::is_dry_run(request),)* }
            }
        }

        $(impl $crate::shape::Operation for $input {
            const NAME: &'static str = stringify!($name);
            const SERVICE: $crate::shape::Service = $service;
            const HAS_OUTPUT: bool = $crate::shape::operations!(@has $($output)?);
            const KEEPS: &'static [&'static str] = &[$($($($kept),+)?)?];
            type Output = $crate::shape::operations!(@output $($output)?);

            fn is_dry_run(&self) -> bool {
                let _this = self;
                $crate::shape::operations!(@dry $dry _this)
            }
        })*
    };
}

macro_rules! values {
    ($($name:ident $about:literal { $($value:ident = $text:literal;)* })*) => {$(
        #[doc = concat!("Values of `", $about, "` that AWS's model names.")]
        pub mod $name {
            $(#[doc = concat!("`", $text, "`.")] pub const $value: &str = $text;)*
            /// All of them.
            pub const ALL: &[&str] = &[$($value),*];
        }
    )*};
}

macro_rules! names {
    ($about:literal $($name:ident)*) => {
        #[doc = $about]
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

pub(crate) use {answer_impl, answers, both, names, operations, request_impl, requests, values};
