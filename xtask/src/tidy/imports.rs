//! Who may import whom. The table in ARCHITECTURE.md says so, `cargo metadata` says what is, and the two must be equal: an
//! import that is not listed and a listed one that is not there are both refused. The deepest walls stand here as well, so
//! that a change of the page alone cannot open them.

use super::packages::{Package, When};
use super::{House, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// The state machines: `no_std`, no clock, no I/O.
pub const RING_1: [&str; 9] = ["base", "wire", "store", "replica", "snapshot", "node", "zone", "host", "region"];

/// All that ring 1 may take from outside the house.
const RING_1_THIRD_PARTY: [&str; 5] = ["aes", "bytes", "crc-fast", "hashbrown", "zerocopy"];

/// The real world is joined to the machines in one place only.
const RUNTIME_IMPORTERS: [&str; 2] = ["seawall", "xtask"];

/// Who may never reach whom, by however many steps.
const WALLS: [(&str, &str); 7] = [
    ("node", "zone"),
    ("zone", "node"),
    ("sim", "runtime"),
    ("frontend", "replica"),
    ("store", "wire"),
    ("store", "replica"),
    ("replica", "store"),
];

const PAGE: &str = "ARCHITECTURE.md";
const HEAD: &str = "| crate | ring | imports | in tests also |";
const RULE: &str = "imports";

struct Row {
    line: usize,
    ring: String,
    imports: BTreeSet<String>,
    in_tests: BTreeSet<String>,
}

fn crates_in(cell: &str) -> BTreeSet<String> {
    cell.split(',')
        .map(|name| name.trim().trim_matches('`'))
        .filter(|n| !matches!(*n, "" | "–" | "-"))
        .map(String::from)
        .collect()
}

/// The table in the page, by crate.
fn table(page: &str) -> Option<BTreeMap<String, Row>> {
    let lines: Vec<_> = page.lines().collect();
    let head = lines.iter().position(|line| *line == HEAD)?;
    let mut rows = BTreeMap::new();
    for (at, line) in lines.iter().enumerate().skip(head + 2).take_while(|(_, line)| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let cell = |i: usize| cells.get(i).copied().unwrap_or("");
        let row = Row { line: at + 1, ring: cell(1).into(), imports: crates_in(cell(2)), in_tests: crates_in(cell(3)) };
        rows.insert(cell(0).trim_matches('`').into(), row);
    }
    Some(rows)
}

/// Tries the rule.
pub fn check(house: &House<'_>, verdict: &mut Verdict) {
    let Some(rows) = house.tree.text(PAGE).and_then(table) else {
        verdict.find(RULE, PAGE, None, format!("the table of imports is missing; its head is {HEAD:?}"));
        return;
    };
    for (name, row) in &rows {
        if !house.packages.iter().any(|p| p.name == *name) {
            verdict.find(RULE, PAGE, row.line, format!("{name} is listed and no such crate exists; take its row out"));
        }
        if RING_1.contains(&name.as_str()) != (row.ring == "1") {
            let what = format!("{name} is listed in ring {}; the crates of ring 1 are {}", row.ring, RING_1.join(", "));
            verdict.find(RULE, PAGE, row.line, what);
        }
    }
    for package in &house.packages {
        match rows.get(&package.name) {
            Some(row) => compare(house, package, row, verdict),
            None => verdict.find(RULE, PAGE, None, format!("{} is a crate and has no row in the table", package.name)),
        }
        third_party(house, package, verdict);
        unused(house, package, verdict);
    }
    walls(house, verdict);
}

fn declared<'a>(package: &'a Package, wanted: impl Fn(When) -> bool + 'a) -> BTreeSet<&'a str> {
    package.dependencies.iter().filter(move |d| d.is_path && wanted(d.when)).map(|d| d.name.as_str()).collect()
}

fn line_of(house: &House<'_>, package: &Package, dependency: &str) -> Option<usize> {
    let manifest = house.tree.text(&package.manifest())?;
    manifest
        .lines()
        .position(|l| l.strip_prefix(dependency).is_some_and(|r| r.starts_with(['.', ' ', '='])))
        .map(|at| at + 1)
}

fn compare(house: &House<'_>, package: &Package, row: &Row, verdict: &mut Verdict) {
    let (name, manifest) = (&package.name, package.manifest());
    let normal = declared(package, |when| when != When::Tests);
    let tests = declared(package, |when| when == When::Tests);
    for import in normal.iter().filter(|import| !row.imports.contains(**import)) {
        let what = format!("{name} imports {import}, which its row in {PAGE} (line {}) does not allow", row.line);
        verdict.find(RULE, &manifest, line_of(house, package, import), what);
    }
    for import in tests.iter().filter(|i| !row.imports.contains(**i) && !row.in_tests.contains(**i)) {
        let what =
            format!("the tests of {name} import {import}, which its row in {PAGE} (line {}) does not allow", row.line);
        verdict.find(RULE, &manifest, line_of(house, package, import), what);
    }
    for import in row.imports.iter().filter(|import| !normal.contains(import.as_str())) {
        let what = format!("{name} is listed as importing {import} and does not; take it out of the row");
        verdict.find(RULE, PAGE, row.line, what);
    }
    for import in row.in_tests.iter().filter(|import| !tests.contains(import.as_str())) {
        let what = format!("the tests of {name} are listed as importing {import} and do not; take it out of the row");
        verdict.find(RULE, PAGE, row.line, what);
    }
    let is_member = |name: &str| house.packages.iter().any(|p| p.name == name);
    for import in normal.union(&tests).filter(|import| !is_member(import)) {
        let what = format!("{name} imports {import} from a folder that is no member of this workspace");
        verdict.find(RULE, &manifest, line_of(house, package, import), what);
    }
}

fn third_party(house: &House<'_>, package: &Package, verdict: &mut Verdict) {
    if !RING_1.contains(&package.name.as_str()) {
        return;
    }
    let foreign = package.dependencies.iter().filter(|d| !d.is_path && d.when != When::Tests);
    for dependency in foreign.filter(|d| !RING_1_THIRD_PARTY.contains(&d.name.as_str())) {
        let what = format!(
            "{} is in ring 1 and may not use {}; only {} are allowed there",
            package.name,
            dependency.name,
            RING_1_THIRD_PARTY.join(", ")
        );
        verdict.find(RULE, &package.manifest(), line_of(house, package, &dependency.name), what);
    }
}

/// A dependency that no line of code names only costs build time and hides what the crate is made of.
fn unused(house: &House<'_>, package: &Package, verdict: &mut Verdict) {
    for dependency in package.dependencies.iter().filter(|d| d.when != When::Build) {
        let folder =
            if dependency.when == When::Tests { package.folder.clone() } else { format!("{}/src", package.folder) };
        let named = house.sources_under(&folder).any(|s| s.tokens.iter().any(|t| t.is_ident(&dependency.code_name)));
        if !named {
            let what =
                format!("{} declares {} and no code of it names that; take it out", package.name, dependency.name);
            verdict.find(RULE, &package.manifest(), line_of(house, package, &dependency.name), what);
        }
    }
}

fn walls(house: &House<'_>, verdict: &mut Verdict) {
    let graph: BTreeMap<&str, BTreeSet<&str>> =
        house.packages.iter().map(|p| (p.name.as_str(), declared(p, |when| when != When::Tests))).collect();
    for (from, to) in WALLS {
        if let Some(path) = path_between(&graph, from, to) {
            let what = format!("{from} must never reach {to}, and does: {}", path.join(" -> "));
            verdict.find(RULE, &format!("crates/{from}/Cargo.toml"), None, what);
        }
    }
    for package in &house.packages {
        let imports = declared(package, |_| true).contains("runtime");
        if imports && !RUNTIME_IMPORTERS.contains(&package.name.as_str()) {
            let what = format!("{} imports runtime; only {} may", package.name, RUNTIME_IMPORTERS.join(" and "));
            verdict.find(RULE, &package.manifest(), line_of(house, package, "runtime"), what);
        }
    }
}

fn path_between<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut paths = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    while let Some(path) = paths.pop() {
        let last = *path.last()?;
        for next in graph.get(last).into_iter().flatten() {
            let mut longer = path.clone();
            longer.push(next);
            if *next == to {
                return Some(longer);
            }
            if seen.insert(next) {
                paths.push(longer);
            }
        }
    }
    None
}
