//! The rules of the house that no compiler knows, each in a file of its own.
//!
//! A rule reads the [`Tree`] and gives findings; a finding says what, where, and what to do. Rules change nothing. Each rule
//! is itself tested: a tree that breaks it is planted, and the finding must name the place (see `tests/tidy/`).

pub mod lexer;
pub mod packages;
pub mod tree;

mod forbidden;
mod imports;
mod links;
mod manifests;
mod names;
mod pages;
mod places;
mod purity;
mod shape;

pub use tree::Tree;

use lexer::Token;
use packages::Package;
use std::fmt;

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the root.
    pub path: String,
    /// The line, from 1, where there is one.
    pub line: Option<usize>,
    /// Which rule.
    pub rule: &'static str,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: [{}] {}", self.path, self.rule, self.what),
            None => write!(f, "{}: [{}] {}", self.path, self.rule, self.what),
        }
    }
}

/// What tidy has to say of a tree.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What must be mended.
    pub findings: Vec<Finding>,
    /// What is allowed and should not grow.
    pub notes: Vec<String>,
}

impl Verdict {
    fn find(&mut self, rule: &'static str, path: &str, line: impl Into<Option<usize>>, what: impl Into<String>) {
        self.findings.push(Finding { path: path.into(), line: line.into(), rule, what: what.into() });
    }
}

/// One Rust file and its tokens.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
    tokens: Vec<Token<'a>>,
}

/// What every rule is given.
struct House<'a> {
    tree: &'a Tree,
    sources: Vec<Source<'a>>,
    packages: Vec<Package>,
}

impl<'a> House<'a> {
    /// The Rust files under a folder.
    fn sources_under(&self, folder: &str) -> impl Iterator<Item = &Source<'a>> {
        let folder = format!("{folder}/");
        self.sources.iter().filter(move |s| s.path.starts_with(&folder))
    }
}

/// Tries every rule on the tree.
pub fn check(tree: &Tree) -> Verdict {
    let mut verdict = Verdict::default();
    let packages = packages::packages(&tree.root).unwrap_or_else(|why| {
        verdict.find("manifests", "Cargo.toml", None, why);
        Vec::new()
    });
    let sources =
        tree.with_extension("rs").map(|(path, text)| Source { path, text, tokens: lexer::lex(text) }).collect();
    let house = House { tree, sources, packages };
    for rule in [
        imports::check,
        purity::check,
        names::check,
        shape::check,
        forbidden::check,
        manifests::check,
        pages::check,
        links::check,
        places::check,
    ] {
        rule(&house, &mut verdict);
    }
    verdict.findings.sort();
    verdict.findings.dedup();
    verdict
}

/// Prints the verdict and returns whether the tree is clean.
pub fn print(verdict: &Verdict) -> bool {
    for note in &verdict.notes {
        crate::say(format_args!("note: {note}"));
    }
    for finding in &verdict.findings {
        crate::say(finding);
    }
    crate::say(format_args!("tidy: {} findings, {} notes", verdict.findings.len(), verdict.notes.len()));
    verdict.findings.is_empty()
}
