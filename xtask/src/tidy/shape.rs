//! How files look from outside: their length, their first line, their names.

use super::lexer::Token;
use super::{House, Source, Verdict};
use std::path::Path;

const RULE: &str = "shape";

/// Lines above which a file must be split.
const FILE_LINES_MAX: usize = 800;
/// Lines above which a file is named, so that it does not grow unseen.
const FILE_LINES_NOTED: usize = 500;
/// Lines above which a function is named.
const FUNCTION_LINES_NOTED: usize = 100;

/// Names that say nothing: what is in such a file belongs to somebody.
const EMPTY_NAMES: [&str; 7] = ["common", "helper", "helpers", "misc", "types", "util", "utils"];

/// Tries the rules.
pub fn check(house: &House<'_>, verdict: &mut Verdict) {
    for source in &house.sources {
        length(source.path, source.text, verdict);
        functions(source, verdict);
        empty_names(source, verdict);
        if !source.text.trim_start_matches('\u{feff}').starts_with("//!") {
            let what = "a file opens with `//!`: what it is, what it promises, what it refuses to know";
            verdict.find(RULE, source.path, 1, what);
        }
    }
    for (path, text) in house.tree.with_extension("py") {
        length(path, text, verdict);
        let first = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty());
        if !first.is_some_and(|line| line.starts_with("\"\"\"")) {
            verdict.find(RULE, path, 1, "a script opens with a docstring: what it is and what it promises");
        }
    }
}

fn length(path: &str, text: &str, verdict: &mut Verdict) {
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines; above {FILE_LINES_MAX} a file is split by what its parts are about");
        verdict.find(RULE, path, None, what);
    } else if lines > FILE_LINES_NOTED {
        verdict.notes.push(format!("{path}: {lines} lines (aim at {FILE_LINES_NOTED})"));
    }
}

fn functions(source: &Source<'_>, verdict: &mut Verdict) {
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, t)| t.is_ident("fn")) {
        let Some(last) = body_end(&source.tokens[at..]) else { continue };
        let lines = last - token.line + 1;
        if lines > FUNCTION_LINES_NOTED {
            let name = source.tokens.get(at + 1).map_or("?", |t| t.text);
            verdict.notes.push(format!("{}:{}: fn {name} has {lines} lines (aim at 70)", source.path, token.line));
        }
    }
}

/// The line on which the body of the function that `tokens` begin with ends; none when it has none.
fn body_end(tokens: &[Token<'_>]) -> Option<usize> {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for token in tokens {
        match token.text {
            "(" | "[" => round += 1,
            ")" | "]" => round -= 1,
            "{" => curly += 1,
            "}" => {
                curly -= 1;
                if curly <= 0 {
                    return Some(token.line);
                }
            }
            // A declaration without body, or a type such as fn(u8) among others.
            ";" | "," | "=" if curly == 0 && round <= 0 => return None,
            _ => {}
        }
        if round < 0 {
            return None;
        }
    }
    None
}

fn empty_names(source: &Source<'_>, verdict: &mut Verdict) {
    let path = Path::new(source.path);
    let parts = path.components().filter_map(|part| Path::new(part.as_os_str()).file_stem()?.to_str());
    for part in parts.filter(|part| EMPTY_NAMES.contains(part)) {
        let what = format!("{part:?} says nothing about what is in it; name the file for the one thing it is about");
        verdict.find(RULE, source.path, None, what);
    }
    for pair in source.tokens.windows(2).filter(|pair| pair[0].is_ident("mod")) {
        if EMPTY_NAMES.contains(&pair[1].text) {
            let what = format!("a module named {:?} says nothing; name it for the one thing it is about", pair[1].text);
            verdict.find(RULE, source.path, pair[1].line, what);
        }
    }
}
