//! A link from one page of the tree to another leads somewhere, and so does a page that a comment in code names (`docs/` and so on).
//!
//! Only relative links are looked at: whether a page of somebody else is still there cannot be known without a network.

use super::{House, Verdict};
use std::path::{Component, Path};

const RULE: &str = "links";

/// Targets of `[text](target)` in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, open)| line[at + open.len()..].split_once(')').map(|(target, _)| target))
}

/// A target as a path from the root; none when it leaves the tree.
fn resolve(page: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for component in Path::new(target).components() {
        match component {
            Component::ParentDir => drop(parts.pop()?),
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// Tries the rule.
pub fn check(house: &House<'_>, verdict: &mut Verdict) {
    for (path, text) in house.tree.with_extension("md") {
        for (at, line) in text.lines().enumerate() {
            for target in
                targets(line).filter(|t| !t.contains("://") && !t.starts_with('#') && !t.starts_with("mailto:"))
            {
                let file = target.split('#').next().unwrap_or(target);
                let leads = resolve(path, file).is_some_and(|to| {
                    let folder = format!("{to}/");
                    house.tree.texts.contains_key(&to) || house.tree.texts.keys().any(|k| k.starts_with(&folder))
                });
                if !leads {
                    verdict.find(
                        RULE,
                        path,
                        at + 1,
                        format!("the link to {target} leads nowhere; mend it or take it out"),
                    );
                }
            }
        }
    }
    for source in &house.sources {
        for (at, line) in source.text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//")) {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
            let words = line.split(|c| !is_part(c)).map(|word| word.trim_end_matches('.'));
            let pages = words.filter(|word| word.starts_with("docs/") && word.ends_with(".md"));
            for page in pages.filter(|page| house.tree.text(page).is_none()) {
                verdict.find(RULE, source.path, at + 1, format!("{page} is named here and does not exist; write it"));
            }
        }
    }
}
