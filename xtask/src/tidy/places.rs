//! Nothing in the tree names a place on somebody's machine: a path that exists there, or a host that packages came from.
//! Whoever reads it elsewhere could do nothing with it.
//!
//! The words are put together here from halves, so that this file does not contain what it looks for.

use super::{House, Verdict};

const RULE: &str = "places";

/// Beginnings of paths. They count where no name stands before them, so that `frame/work/` is none.
const PATHS: [&str; 5] =
    [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/tm", "p/")];

/// Whole words.
const WORDS: [&str; 1] = [concat!(".libr", "ary")];

/// Hosts that packages come from, and what private mirrors of them are usually called.
const HOSTS: [&str; 10] = [
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("deb.debian", ".org"),
    concat!("archive.ubuntu", ".com"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("artifact", "ory"),
    concat!("host.docker", ".internal"),
];

fn stands_alone(line: &str, at: usize, len: usize, is_path: bool) -> bool {
    let joins = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ')' | '>' | '/');
    let before = line[..at].chars().next_back();
    let after = line[at + len..].chars().next();
    // `file:///` ends in a slash and a path may follow; so may one `//` of a URL, which a host then follows.
    let opens = before.is_none_or(|c| !joins(c) || (c == '/' && (!is_path || line[..at].ends_with("://"))));
    opens && (is_path || after.is_none_or(|c| !c.is_alphanumeric()))
}

fn named<'a>(line: &str, places: &[&'a str], is_path: bool) -> Option<&'a str> {
    let found = |place: &&str| line.match_indices(*place).any(|(at, _)| stands_alone(line, at, place.len(), is_path));
    places.iter().copied().find(|place| found(place))
}

/// Tries the rule.
pub fn check(house: &House<'_>, verdict: &mut Verdict) {
    for (path, text) in &house.tree.texts {
        for (at, line) in text.lines().enumerate() {
            let place = named(line, &PATHS, true)
                .or_else(|| named(line, &WORDS, false))
                .or_else(|| HOSTS.into_iter().find(|host| line.contains(host)));
            if let Some(place) = place {
                let what =
                    format!("{place:?} is a place on one machine; say it relative to the project, or not at all");
                verdict.find(RULE, path, at + 1, what);
            }
        }
    }
}
