//! The canonical form of a request: the one text that both who signs and who verifies come to, however it was written on its way.
//!
//! It never fails: whatever bytes came have a form. Whether they may be what they are is decided elsewhere.

use super::Signed;
use super::claim::{Claim, Form, SIGNATURE};
use std::borrow::Cow;

/// How the path of a request is signed: always encoded once more than it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// Without `.` and `..` and with single slashes, as for every service but S3.
    Normalised,
    /// As it was sent.
    AsSent,
}

/// The canonical request, with the word that stands for its body.
pub fn request(signed: &Signed<'_>, claim: &Claim, paths: Paths, payload: &str) -> Vec<u8> {
    let path = match paths {
        Paths::Normalised => normalised(signed.path),
        Paths::AsSent if signed.path.is_empty() => "/".into(),
        Paths::AsSent => signed.path.into(),
    };
    let mut out = Vec::with_capacity(512 + path.len() + signed.query.len());
    out.extend_from_slice(signed.method.as_bytes());
    out.push(b'\n');
    encode(path.as_bytes(), b"/", &mut out);
    out.push(b'\n');
    query(signed.query, matches!(claim.form, Form::Query { .. }), &mut out);
    out.push(b'\n');
    for name in &claim.signed_headers {
        out.extend_from_slice(name.as_bytes());
        for (at, value) in signed.values(name).enumerate() {
            out.push(if at == 0 { b':' } else { b',' });
            single_spaced(value, &mut out);
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(claim.signed_headers.join(";").as_bytes());
    out.push(b'\n');
    out.extend_from_slice(payload.as_bytes());
    out
}

/// Percent-encodes all but what RFC 3986 calls unreserved, and what is to be kept.
fn encode(bytes: &[u8], keep: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            out.push(byte);
        } else {
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// Undoes the encoding of a query, as forms are decoded: a plus is a space, and a percent sign without two digits is itself.
pub fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|&b| char::from(b).to_digit(16)).map(|d| d as u8);
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    out
}

/// The parts of a query, still encoded.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
}

fn query(raw: &str, presigned: bool, out: &mut Vec<u8>) {
    let encoded = |text: &str| {
        let mut to = Vec::with_capacity(text.len());
        encode(&decoded(text), b"", &mut to);
        to
    };
    let mut all: Vec<_> = pairs(raw).map(|(name, value)| (encoded(name), encoded(value))).collect();
    if presigned {
        all.retain(|(name, _)| name != SIGNATURE.as_bytes());
    }
    // By what is written, not by what it means: `%E1` comes before `P`.
    all.sort_unstable();
    for (at, (name, value)) in all.iter().enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// RFC 3986, 5.2.4, and empty segments taken out too.
fn normalised(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') && !path.contains("//") && !path.contains("/.") {
        return path.into();
    }
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let is_folder = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
    let end = if is_folder && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/")).into()
}

fn single_spaced(value: &[u8], out: &mut Vec<u8>) {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_normalised_and_a_folder_stays_one() {
        for (raw, expected) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/..", "/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("//a//b//", "/a/b/"),
            ("/.a/b.", "/.a/b."),
            ("/../../a", "/a"),
            ("a", "/a"),
        ] {
            assert_eq!(normalised(raw), expected, "{raw}");
        }
    }

    #[test]
    fn a_query_is_sorted_by_what_is_written_and_a_plus_is_a_space() {
        for (raw, expected) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=b&a=a&a", "a=&a=a&a=b"),
            ("a=1+2%203", "a=1%202%203"),
            ("a=%2b%2B~%7E", "a=%2B%2B~~"),
            ("a=b=c&&=d", "=d&a=b%3Dc"),
            ("a=%&b=%4&c=%zz", "a=%25&b=%254&c=%25zz"),
            ("P=1&%e1=2&X-Amz-Signature=3", "%E1=2&P=1&X-Amz-Signature=3"),
        ] {
            let mut out = Vec::new();
            query(raw, false, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{raw}");
        }
        let mut out = Vec::new();
        query("a=1&X-Amz-Signatur%65=3", true, &mut out);
        assert_eq!(out, b"a=1");
    }
}
