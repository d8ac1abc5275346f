//! What every manifest states, and the files that a release must carry.

use super::{House, Verdict};

const RULE: &str = "manifests";
const LICENSE: &str = "Apache-2.0";
const EDITION: &str = "2024";
/// The one place that releases of others come from, as Cargo.lock writes it.
const SOURCE: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// Tries the rule.
pub fn check(house: &House<'_>, verdict: &mut Verdict) {
    match house.tree.text("Cargo.lock") {
        None => verdict.find(RULE, "Cargo.lock", None, "is missing: every build must use the same releases; commit it"),
        Some(_) if house.tree.untracked.contains("Cargo.lock") => {
            verdict.find(RULE, "Cargo.lock", None, "is not tracked: every build must use the same releases; commit it");
        }
        Some(lock) => {
            let foreign = |line: &str| line.starts_with("source = ") && line != SOURCE;
            for (at, _) in lock.lines().enumerate().filter(|(_, line)| foreign(line)) {
                let what = "a dependency that does not come from crates.io; use a release";
                verdict.find(RULE, "Cargo.lock", at + 1, what);
            }
        }
    }
    if !house.tree.text("LICENSE").is_some_and(|text| text.contains("Apache License")) {
        verdict.find(RULE, "LICENSE", None, "is missing or is not the Apache License; put its full text there");
    }
    let workspace = house.tree.text("Cargo.toml").unwrap_or("");
    let replaces = |line: &str| line.starts_with("[patch") || line.starts_with("[replace");
    for (at, _) in workspace.lines().enumerate().filter(|(_, line)| replaces(line.trim_start())) {
        let what = "replaces somebody's release by other code, which no list of dependencies shows; take it out";
        verdict.find(RULE, "Cargo.toml", at + 1, what);
    }
    for package in &house.packages {
        let manifest = package.manifest();
        let mut state = |good: bool, what: &str| {
            if !good {
                verdict.find(RULE, &manifest, None, what);
            }
        };
        state(package.license.as_deref() == Some(LICENSE), "states no Apache-2.0 license: `license.workspace = true`");
        state(package.rust_version.is_some(), "states no rust-version: `rust-version.workspace = true`");
        state(package.edition == EDITION, "is not of edition 2024: `edition.workspace = true`");
        state(!package.publishable, "could be published by mistake: `publish.workspace = true`");
        let lints = house.tree.text(&manifest).is_some_and(|text| text.contains("[lints]\nworkspace = true"));
        state(lints, "does not take the house's lints: `[lints]` and `workspace = true`");
    }
}
