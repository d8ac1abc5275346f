//! Every error that people can meet has a page in docs/errors/, and every page an error.
//!
//! The codes of refusals are the variants of `wire::ErrorCode`, numbered by their tags: tag 3 is E0003, and its page's title names
//! the variant. The binary's own are those of its enum `Code`, where a match gives them their numbers. Whatever else code says as `E`
//! and four digits needs its page too.

use super::lexer::{Kind, Token};
use super::{House, Verdict};
use std::collections::BTreeMap;

const RULE: &str = "pages";
const ENUM: &str = "ErrorCode";
const FOLDER: &str = "docs/errors";

struct Code<'a> {
    path: &'a str,
    line: usize,
    /// What its page's title must contain, where the code itself has a name.
    name: Option<&'a str>,
}

/// Tries the rule.
pub fn check(house: &House<'_>, verdict: &mut Verdict) {
    let mut codes = BTreeMap::new();
    // Variants first: they have names.
    for source in house.sources_under("crates") {
        for (tag, name, line) in variants(&source.tokens) {
            codes.insert(format!("E{tag:04}"), Code { path: source.path, line, name: Some(name) });
        }
    }
    for source in house.sources_under("crates") {
        for (number, line) in numbered(&source.tokens) {
            codes.entry(format!("E{number:04}")).or_insert(Code { path: source.path, line, name: None });
        }
        for token in source.tokens.iter().filter(|t| matches!(t.kind, Kind::Ident | Kind::Text)) {
            for code in codes_in(token.text) {
                codes.entry(code).or_insert(Code { path: source.path, line: token.line, name: None });
            }
        }
    }
    let index = format!("{FOLDER}/README.md");
    for (code, at) in &codes {
        let page = format!("{FOLDER}/{code}.md");
        let Some(text) = house.tree.text(&page) else {
            verdict.find(RULE, at.path, at.line, format!("{code} has no page; write {page}: what, why, what to do"));
            continue;
        };
        let title = text.lines().next().unwrap_or("");
        if !title.starts_with(&format!("# {code}")) || !at.name.is_none_or(|name| title.contains(name)) {
            let name = at.name.unwrap_or("what it is");
            verdict.find(RULE, &page, 1, format!("the title must begin with \"# {code}\" and say {name:?}"));
        }
        if !house.tree.text(&index).is_some_and(|list| list.contains(&format!("({code}.md)"))) {
            verdict.find(RULE, &index, None, format!("the list of pages does not link {code}.md; add it"));
        }
    }
    for path in house.tree.texts.keys() {
        let code = path.strip_prefix(FOLDER).and_then(|p| p.strip_prefix('/')).and_then(|p| p.strip_suffix(".md"));
        if let Some(code) = code.filter(|code| *code != "README" && !codes.contains_key(*code)) {
            verdict.find(
                RULE,
                path,
                None,
                format!("no code says {code}; take the page out or give the error its code"),
            );
        }
    }
}

/// `E` and four digits, standing alone.
fn codes_in(text: &str) -> impl Iterator<Item = String> {
    let words = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() == 5 && word.starts_with('E') && word.bytes().skip(1).all(|b| b.is_ascii_digit()));
    words.map(String::from)
}

/// `tag = Name` of the enum of codes, in the notation of `base::choice!` or of a plain enum (`Name = tag`).
fn variants<'a>(tokens: &[Token<'a>]) -> Vec<(u32, &'a str, usize)> {
    let Some(at) = tokens.windows(2).position(|pair| pair[0].is_ident("enum") && pair[1].is_ident(ENUM)) else {
        return Vec::new();
    };
    let body =
        tokens[at..].iter().skip_while(|t| !t.is_punct('{')).take_while(|t| !t.is_punct('}')).collect::<Vec<_>>();
    let pairs = body.windows(3).filter(|triple| triple[1].is_punct('='));
    pairs
        .filter_map(|triple| match (triple[0].kind, triple[2].kind) {
            (Kind::Number, Kind::Ident) => Some((triple[0].text.parse().ok()?, triple[2].text, triple[0].line)),
            (Kind::Ident, Kind::Number) => Some((triple[2].text.parse().ok()?, triple[0].text, triple[0].line)),
            _ => None,
        })
        .collect()
}

/// `Self::Name => number` in a file that declares `enum Code`.
fn numbered(tokens: &[Token<'_>]) -> Vec<(u32, usize)> {
    if !tokens.windows(2).any(|pair| pair[0].is_ident("enum") && pair[1].is_ident("Code")) {
        return Vec::new();
    }
    let arms = tokens
        .windows(7)
        .filter(|w| w[0].is_ident("Self") && w[3].kind == Kind::Ident && w[4].is_punct('=') && w[5].is_punct('>'));
    arms.filter_map(|w| Some((w[6].text.parse().ok()?, w[6].line))).collect()
}
