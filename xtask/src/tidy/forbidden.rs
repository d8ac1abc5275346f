//! Words that mean unfinished or unsound work: `todo!`, `unimplemented!`, `dbg!`, ignored tests, and sleeping.
//!
//! A sleep is wrong nearly everywhere (wait for a condition, with a deadline). Where it is right, a comment on its line or the one
//! above says why: `// tidy: sleep: the reason`. The allowed ones are counted in tidy's notes.

use super::lexer::{Kind, Token};
use super::{House, Source, Verdict};

const RULE: &str = "forbidden";
const MARK: &str = "// tidy: sleep:";

/// Tries the rule.
pub fn check(house: &House<'_>, verdict: &mut Verdict) {
    for source in &house.sources {
        for (at, token) in source.tokens.iter().enumerate() {
            match (token.kind, token.text) {
                (Kind::Ident, name @ ("todo" | "unimplemented" | "dbg")) if is_macro(&source.tokens, at) => {
                    verdict.find(RULE, source.path, token.line, format!("{name}! marks unfinished work; finish it"));
                }
                (Kind::Ident, "ignore") if is_attribute(&source.tokens, at) => {
                    let what = "an ignored test tests nothing; make it run, or take it out";
                    verdict.find(RULE, source.path, token.line, what);
                }
                (Kind::Ident, name @ ("sleep" | "sleep_ms" | "sleep_until")) => {
                    sleeping(source, token.line, name, verdict)
                }
                _ => {}
            }
        }
    }
}

fn is_macro(tokens: &[Token<'_>], at: usize) -> bool {
    // Behind `::` too, so that `use std::todo as later` does not pass.
    let path = at >= 2 && tokens[at - 1].is_punct(':') && tokens[at - 2].is_punct(':');
    path || tokens.get(at + 1).is_some_and(|t| t.is_punct('!'))
}

fn is_attribute(tokens: &[Token<'_>], at: usize) -> bool {
    let ends = tokens.get(at + 1).is_some_and(|t| [']', '=', ')', ','].iter().any(|mark| t.is_punct(*mark)));
    let before: Vec<_> = tokens[..at].iter().rev().take(2).map(|t| t.text).collect();
    // `#[ignore]`, `#[ignore = ".."]`, `#[cfg_attr(.., ignore)]`.
    let opens = before == ["[", "#"];
    let start = tokens[..at].iter().rposition(|t| t.is_punct('#')).unwrap_or(at);
    let conditional = tokens[start..at].iter().any(|t| t.is_ident("cfg_attr"));
    ends && (opens || conditional)
}

fn sleeping(source: &Source<'_>, line: usize, name: &str, verdict: &mut Verdict) {
    let above = source.text.lines().skip(line.saturating_sub(2)).take(2);
    let reason = above.filter_map(|l| l.split_once(MARK)).map(|(_, reason)| reason.trim()).find(|r| !r.is_empty());
    match reason {
        Some(reason) => verdict.notes.push(format!("{}:{line}: sleeps: {reason}", source.path)),
        None => {
            let what = format!("{name}: wait for a condition with a deadline; if it must be, say why in `{MARK} ...`");
            verdict.find(RULE, source.path, line, what);
        }
    }
}
