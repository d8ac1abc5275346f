//! The state machines stay pure: what ring 1 compiles from its `src` folders cannot name a clock, a thread, a file, a randomised
//! map, a float, or memory shared with another machine.
//!
//! `#![no_std]` alone does not do that: `extern crate std` brings all of it back, from any module, under any name, out of any
//! macro. So the identifier `std` itself is refused, wherever it stands outside comments and strings, and so is every way
//! to let in source or names that this check does not see: other crates of the sysroot, `include!`, `#[path]`, `cfg_attr`, build
//! scripts, roots elsewhere. Unit tests of ring 1 do without std as well; integration tests (`tests/`) may use it.
//!
//! A build for a target without std would prove nothing more and is not possible: crc-fast, which ring 1 may use, needs std
//! inside.

use super::imports::RING_1;
use super::lexer::{Kind, Token};
use super::packages::Package;
use super::{House, Source, Verdict};

const RULE: &str = "purity";

const FLOATS: [&str; 4] = ["f16", "f32", "f64", "f128"];
/// Where the house's hash maps are made.
const MAPS: &str = "crates/base/src/map.rs";
/// Where it is counted how often the machines were at rare places. No machine reads it.
const MARKS: &str = "crates/base/src/sometimes.rs";

/// Tries the rule.
pub fn check(house: &House<'_>, verdict: &mut Verdict) {
    for package in house.packages.iter().filter(|p| RING_1.contains(&p.name.as_str())) {
        targets(house, package, verdict);
        for source in house.sources_under(&format!("{}/src", package.folder)) {
            words(source, verdict);
            attributes(source, verdict);
        }
    }
}

/// One library at the usual place, without a build script.
fn targets(house: &House<'_>, package: &Package, verdict: &mut Verdict) {
    let root = format!("{}/src/lib.rs", package.folder);
    let script = format!("{}/build.rs", package.folder);
    for target in &package.targets {
        let allowed = match target.kinds.first().map(String::as_str) {
            Some("lib") => target.source == root,
            Some("test" | "bench" | "example") => true,
            _ => false,
        };
        if !allowed {
            let what = format!(
                "{} is in ring 1: it is one library rooted at src/lib.rs, not a {} at {}",
                package.name,
                target.kinds.join(", "),
                target.source
            );
            verdict.find(RULE, &package.manifest(), None, what);
        }
    }
    if house.tree.text(&script).is_some() {
        verdict.find(RULE, &script, None, "a crate of ring 1 has no build script; take it out");
    }
    match house.sources.iter().find(|s| s.path == root) {
        Some(source) => root_attributes(source, verdict),
        None => verdict.find(RULE, &root, None, "the root of a crate of ring 1 is missing"),
    }
}

/// The inner attributes that a file begins with, each without `#![` and `]`.
fn leading_attributes<'a, 'b>(tokens: &'b [Token<'a>]) -> Vec<&'b [Token<'a>]> {
    let mut found = Vec::new();
    let mut left = tokens;
    while let [hash, bang, open, rest @ ..] = left {
        if !(hash.is_punct('#') && bang.is_punct('!') && open.is_punct('[')) {
            break;
        }
        let len = inside(rest);
        found.push(&rest[..len]);
        left = rest.get(len + 1..).unwrap_or(&[]);
    }
    found
}

/// How many tokens stand before the bracket that closes.
fn inside(tokens: &[Token<'_>]) -> usize {
    let mut depth = 1;
    for (at, token) in tokens.iter().enumerate() {
        if token.is_punct('[') {
            depth += 1;
        } else if token.is_punct(']') {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    tokens.len()
}

fn root_attributes(source: &Source<'_>, verdict: &mut Verdict) {
    let attributes = leading_attributes(&source.tokens);
    if !attributes.iter().any(|a| matches!(a, [only] if only.is_ident("no_std"))) {
        let what = "a crate of ring 1 begins with #![no_std], without condition; add it behind the file's head";
        verdict.find(RULE, source.path, 1, what);
    }
    let forbids = |a: &&[Token<'_>]| {
        a.first().is_some_and(|t| t.is_ident("forbid")) && a.iter().any(|t| t.is_ident("unsafe_code"))
    };
    if !attributes.iter().any(forbids) {
        let what =
            "a crate of ring 1 begins with #![forbid(unsafe_code)], without condition; add it behind the file's head";
        verdict.find(RULE, source.path, 1, what);
    }
}

fn words(source: &Source<'_>, verdict: &mut Verdict) {
    for (at, token) in source.tokens.iter().enumerate() {
        let what = match (token.kind, token.text) {
            (Kind::Ident, "std") => "ring 1 may not name std, under no name and in no macro; use core, alloc or base",
            // `as_secs_f64` gives a float without naming its type.
            (Kind::Ident, name) if name.split('_').any(|part| FLOATS.contains(&part)) => {
                "ring 1 counts in integers, not in floats"
            }
            (Kind::Ident, "HashMap" | "HashSet" | "HashTable" | "DefaultHashBuilder") if source.path != MAPS => {
                "a hash map in ring 1 is base::map's, whose order is the same in every run"
            }
            (Kind::Ident, name) if name.starts_with("Atomic") && source.path != MARKS => {
                "a machine shares nothing with another: keep it in the machine's own value"
            }
            (Kind::Number, _) if token.is_float() => "ring 1 counts in integers; this is a float",
            (Kind::Ident, "include") => {
                "ring 1 may not include!(..) source from elsewhere (nor call something else `include`); make it a module"
            }
            (Kind::Ident, "crate") if is_foreign_extern(&source.tokens, at) => {
                "ring 1 may say `extern crate alloc` and no other `extern crate`; list a dependency in Cargo.toml instead"
            }
            _ => continue,
        };
        verdict.find(RULE, source.path, token.line, what);
    }
}

/// At the `crate` of `extern crate`: whether it brings in anything but alloc, core or the crate itself.
fn is_foreign_extern(tokens: &[Token<'_>], at: usize) -> bool {
    let is_extern = at > 0 && tokens[at - 1].is_ident("extern");
    let harmless = tokens.get(at + 1).is_some_and(|t| ["alloc", "core", "self"].iter().any(|name| t.is_ident(name)));
    is_extern && !harmless
}

fn attributes(source: &Source<'_>, verdict: &mut Verdict) {
    for (at, token) in source.tokens.iter().enumerate() {
        let next = source.tokens.get(at + 1);
        let before = at.checked_sub(1).and_then(|i| source.tokens.get(i));
        let is_value = next.is_some_and(|t| t.is_punct('='));
        let what = if token.is_ident("cfg_attr") {
            "ring 1 has no conditional attributes: one build of it must be like every other; write the attribute plainly"
        } else if token.is_ident("path") && is_value && before.is_some_and(|t| t.is_punct('[') || t.is_punct('(')) {
            "ring 1 takes no module from another #[path]; put the file where its module says"
        } else if token.kind == Kind::Ident && is_value && in_attribute(&source.tokens, at, "$") {
            "ring 1 has no attribute whose name a macro fills in: nobody can read what it says"
        } else {
            continue;
        };
        verdict.find(RULE, source.path, token.line, what);
    }
}

/// Whether the tokens before `at` are `#`, perhaps `!`, `[` and then `mark`.
fn in_attribute(tokens: &[Token<'_>], at: usize, mark: &str) -> bool {
    let before: Vec<_> = tokens[..at].iter().rev().take(4).map(|t| t.text).collect();
    before.starts_with(&[mark, "[", "#"]) || before.starts_with(&[mark, "[", "!", "#"])
}
