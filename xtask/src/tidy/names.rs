//! The names of AWS live in the crate `api` and nowhere else: the machines must not grow around one customer's shapes.
//!
//! Identifiers and strings count; comments may say where an idea comes from.

use super::lexer::Kind;
use super::{House, Verdict};

const RULE: &str = "names";

/// Whole words, as they stand between the underscores and capitals of a name or the spaces of a text.
const WORDS: [&str; 7] = ["amazon", "amazonaws", "amz", "aws", "ebs", "ec2", "sigv4"];

/// Beginnings of files that may say them: the room they belong to, and this chore, which has the list.
const ALLOWED: [&str; 2] = ["crates/api/", "xtask/"];

/// Names that contain a word and are somebody's own.
const EXCEPT: [&str; 2] = ["aws_lc_rs", "aws-lc-rs"];

/// The words of a name or text, in lower case: `Ec2Query`, `ec2_query` and "ec2 query" have the same two.
fn words(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut was_lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
            all.push(String::new());
        }
        was_lower = c.is_lowercase() || c.is_numeric();
        if c.is_alphanumeric() {
            all.last_mut().expect("it began with one").extend(c.to_lowercase());
        }
    }
    all
}

/// Tries the rule.
pub fn check(house: &House<'_>, verdict: &mut Verdict) {
    for source in house.sources.iter().filter(|s| !ALLOWED.iter().any(|a| s.path.starts_with(a))) {
        for token in source.tokens.iter().filter(|t| matches!(t.kind, Kind::Ident | Kind::Text)) {
            let text = EXCEPT.iter().fold(token.text.to_string(), |text, except| text.replace(except, ""));
            if let Some(word) = words(&text).iter().find(|word| WORDS.contains(&word.as_str())) {
                let what =
                    format!("the word {word:?} belongs to the crate api; say what it means in the house's own words");
                verdict.find(RULE, source.path, token.line, what);
            }
        }
    }
}
