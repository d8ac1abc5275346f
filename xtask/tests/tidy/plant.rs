//! A small house that keeps every rule, in a folder of its own, for one violation at a time to be planted in.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use xtask::tidy::{Finding, Tree, check};

/// Name, ring, imports.
const CRATES: [(&str, u8, &[&str]); 8] = [
    ("base", 1, &[]),
    ("wire", 1, &["base"]),
    ("store", 1, &["base"]),
    ("node", 1, &["base", "wire", "store"]),
    ("zone", 1, &["base", "wire"]),
    ("runtime", 2, &["base", "wire"]),
    ("sim", 2, &["base", "node"]),
    ("seawall", 3, &["base", "runtime", "sim"]),
];

const WORKSPACE: &str = "[workspace]
resolver = \"3\"
members = [\"crates/*\"]

[workspace.package]
version = \"0.1.0\"
edition = \"2024\"
rust-version = \"1.95\"
license = \"Apache-2.0\"
publish = false
";

const CODES: &str = "choice! {
    /// Codes.
    pub enum ErrorCode: \"error code\" {
        /// No such thing.
        1 = NotFound,
        /// In use.
        2 = InUse,
    }
}
";

/// The planted house. Its folder is removed when it is dropped.
pub struct Plant {
    root: PathBuf,
}

impl Drop for Plant {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).expect("the planted folder can be removed");
    }
}

impl Plant {
    /// A house without a fault.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("seawall-tidy-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let plant = Self { root: std::env::temp_dir().join(name) };
        plant.write("Cargo.toml", WORKSPACE);
        plant.write("Cargo.lock", "version = 4\n");
        plant.write("LICENSE", "Apache License, Version 2.0\n");
        let mut table =
            String::from("# Architecture\n\n| crate | ring | imports | in tests also |\n|---|---|---|---|\n");
        for (name, ring, imports) in CRATES {
            table.push_str(&format!("| `{name}` | {ring} | {} | – |\n", imports.join(", ")));
            let mut manifest = format!("[package]\nname = \"{name}\"\n");
            for field in ["version", "edition", "rust-version", "license", "publish"] {
                manifest.push_str(&format!("{field}.workspace = true\n"));
            }
            manifest.push_str("\n[lints]\nworkspace = true\n\n[dependencies]\n");
            let head = if ring == 1 { "#![no_std]\n#![forbid(unsafe_code)]\n" } else { "" };
            let mut code = format!("//! A room.\n{head}");
            for import in imports {
                manifest.push_str(&format!("{import} = {{ path = \"../{import}\" }}\n"));
                code.push_str(&format!("pub use {import};\n"));
            }
            plant.write(&format!("crates/{name}/Cargo.toml"), &manifest);
            plant.write(&format!("crates/{name}/src/lib.rs"), &code);
        }
        plant.append("Cargo.toml", "\n[workspace.lints.rust]\nunused_must_use = \"deny\"\n");
        plant.write("ARCHITECTURE.md", &table);
        plant.append("crates/wire/src/lib.rs", CODES);
        plant.write("docs/errors/README.md", "[E0001](E0001.md) [E0002](E0002.md)\n");
        plant.write("docs/errors/E0001.md", "# E0001 NotFound\n");
        plant.write("docs/errors/E0002.md", "# E0002 InUse\n");
        plant
    }

    /// Where it stands.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Puts a file there.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder can be made");
        std::fs::write(path, text).expect("a file can be written");
    }

    /// The text of a file.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).expect("the file is there")
    }

    /// Adds to the end of a file.
    pub fn append(&self, path: &str, text: &str) {
        self.write(path, &(self.read(path) + text));
    }

    /// Replaces what is there once.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {path}");
        self.write(path, &text.replace(from, to));
    }

    /// Takes a file away.
    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.root.join(path)).expect("the file is there");
    }

    /// What tidy finds.
    pub fn findings(&self) -> Vec<Finding> {
        check(&Tree::open(&self.root).expect("the tree can be read")).findings
    }

    /// What tidy notes.
    pub fn notes(&self) -> Vec<String> {
        check(&Tree::open(&self.root).expect("the tree can be read")).notes
    }

    /// That tidy finds this and nothing else, and says these words.
    pub fn is_found(&self, rule: &str, path: &str, line: impl Into<Option<usize>>, words: &str) {
        let findings = self.findings();
        let places: Vec<_> = findings.iter().map(|f| (f.rule, f.path.as_str(), f.line)).collect();
        assert_eq!(places, [(rule, path, line.into())], "{findings:#?}");
        assert!(findings[0].what.contains(words), "{:?} lacks {words:?}", findings[0].what);
    }

    /// That tidy finds this, among others.
    pub fn is_among(&self, rule: &str, path: &str, words: &str) {
        let findings = self.findings();
        let found = findings.iter().any(|f| f.rule == rule && f.path == path && f.what.contains(words));
        assert!(found, "nothing about {words:?} in {path}: {findings:#?}");
    }

    /// That tidy finds nothing.
    pub fn is_clean(&self) {
        assert_eq!(self.findings(), []);
    }
}
