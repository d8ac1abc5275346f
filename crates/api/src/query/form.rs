//! From bytes to the tree of parameters.
//!
//! Decoded by hand, since the usual decoders are lenient: they pass a broken escape through and put marks where bytes are no text, and
//! somebody's tag would silently be another one. Here both are refused.

use super::{BODY_BYTES_MAX, DEPTH_MAX, NAME_BYTES_MAX, Node, PARAMETERS_MAX, VALUE_BYTES_MAX};
use crate::code::Code;
use crate::error::{ApiError, echo};
use crate::xml::is_writable;

fn hex(digit: Option<&u8>) -> Option<u8> {
    char::from(*digit?).to_digit(16).and_then(|value| value.try_into().ok())
}

/// Undoes the escapes of a name or a value.
fn decode(text: &[u8]) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match (hex(rest.next()), hex(rest.next())) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(ApiError::malformed_query("a % is not followed by two hexadecimal digits")),
            },
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| ApiError::malformed_query("a name or a value is not UTF-8"))
}

/// Puts one parameter into the tree.
fn insert(root: &mut Node, name: &str, value: String) -> Result<(), ApiError> {
    if name.split('.').count() > DEPTH_MAX {
        return Err(ApiError::malformed_query(format_args!("{} has more than {DEPTH_MAX} parts", echo(name))));
    }
    let mut node = root;
    for part in name.split('.') {
        node = match part {
            // `a..b`, `.a`: no shape has a member without name.
            "" => return Err(ApiError::unknown_parameter(echo(name))),
            // Not `entry`, which would want a copy of a part that is there already, as most are.
            part if node.children.contains_key(part) => node.children.get_mut(part).expect("it is there"),
            part => node.children.entry(part.to_owned()).or_default(),
        };
    }
    match node.value.replace(value) {
        None => Ok(()),
        Some(_) => Err(ApiError::malformed_query(format_args!("{} is given twice", echo(name)))),
    }
}

/// The tree of a body.
pub(super) fn parse(body: &[u8]) -> Result<Node, ApiError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(ApiError::malformed_query(format_args!("it is longer than {BODY_BYTES_MAX} bytes")));
    }
    let mut root = Node::default();
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    for (at, pair) in pairs.enumerate() {
        if at == PARAMETERS_MAX {
            return Err(ApiError::malformed_query(format_args!("it has more than {PARAMETERS_MAX} parameters")));
        }
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (decode(&pair[..equals])?, decode(pair.get(equals + 1..).unwrap_or_default())?);
        if name.len() > NAME_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            return Err(ApiError::malformed_query(format_args!("{} or its value is too long", echo(&name))));
        }
        // What XML cannot carry could be stored and never be told again.
        if !name.chars().all(is_writable) || !value.chars().all(is_writable) {
            let what = format!("The parameter {} has a character that is not allowed", echo(&name));
            return Err(ApiError::new(Code::InvalidCharacter, what));
        }
        insert(&mut root, &name, value)?;
    }
    Ok(root)
}
