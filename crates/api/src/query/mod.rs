//! Requests of the Query protocols: an `application/x-www-form-urlencoded` body becomes a tree of parameters, and the tree a typed request.
//!
//! ```text
//! Action=CreateVolume & Size=10 & TagSpecification.1.Tag.1.Key=Name & TagSpecification.1.Tag.1.Value=a+b
//! ```
//!
//! ```text
//! Size ............ "10"
//! TagSpecification
//!   1
//!     Tag
//!       1 ......... Key "Name", Value "a b"
//! ```
//!
//! Reading takes parameters *out* of the tree ([`FromQuery`]), so that what is left at the end is exactly what nothing understood, and
//! is refused by name. Nothing that a client can send makes this fail otherwise than by an [`ApiError`], and all of it is bounded.

mod form;
mod read;
#[cfg(test)]
mod tests;

pub use read::{At, Field, FromQuery, required};

use crate::error::ApiError;
use std::collections::BTreeMap;

/// Bytes of a body. The largest that AWS allows anybody to mean, a thousand ids or tags for as many, are far below.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Parameters of a request.
pub const PARAMETERS_MAX: usize = 8_192;
/// Bytes of a parameter's name, decoded.
pub const NAME_BYTES_MAX: usize = 512;
/// Bytes of a parameter's value, decoded.
pub const VALUE_BYTES_MAX: usize = 65_536;
/// Parts of a parameter's name. The deepest of all that are modelled has seven.
pub const DEPTH_MAX: usize = 12;
/// The greatest number of an element of a list.
pub const INDEX_MAX: u32 = 65_535;

/// A parameter, with those under it.
///
/// A parameter of a request has a value or others under it. One that has both is nothing that any shape can have, and is refused by
/// whoever reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

/// A request, taken apart and not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which operation is asked for.
    pub action: String,
    /// The version of the interface that the client speaks; empty if it does not say.
    pub version: String,
    /// All other parameters.
    pub parameters: Node,
}

impl Query {
    /// Takes a body apart.
    ///
    /// # Errors
    /// `MalformedQueryString` for what is no form or beyond the bounds above, `InvalidCharacter` for text that no answer could repeat,
    /// `MissingAction`.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut parameters = form::parse(body)?;
        let mut take = |name| match parameters.children.remove(name) {
            Some(node) => FromQuery::from_query(node, &At::root(name)),
            None => Ok(String::new()),
        };
        let (action, version): (String, String) = (take("Action")?, take("Version")?);
        if action.is_empty() {
            return Err(ApiError::new(crate::Code::MissingAction, "The request must contain the parameter Action"));
        }
        Ok(Self { action, version, parameters })
    }

    /// The parameters as one typed request.
    ///
    /// # Errors
    /// A parameter that is missing, that has a value of the wrong kind, or that the shape does not have.
    pub fn read<T: FromQuery>(self) -> Result<T, ApiError> {
        T::from_query(self.parameters, &At::TOP)
    }
}
