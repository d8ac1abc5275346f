//! The workspace's packages, as `cargo metadata` states them.
//!
//! Only what manifests declare: nothing is resolved and nothing is fetched, so this works with no network and in a tree
//! whose dependencies were never downloaded.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// When a dependency is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In every build.
    Normal,
    /// For the build script.
    Build,
    /// For tests, benches and examples.
    Tests,
}

/// One line of a manifest's dependencies.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// The package's own name.
    pub name: String,
    /// What code calls it.
    pub code_name: String,
    /// When.
    pub when: When,
    /// Whether it is a folder rather than a release.
    pub is_path: bool,
}

/// Something cargo would build.
#[derive(Debug, Clone)]
pub struct Target {
    /// `lib`, `bin`, `test`, `custom-build`, `proc-macro`, ...
    pub kinds: Vec<String>,
    /// Its root file, from the tree's root; as it is when it lies outside.
    pub source: String,
}

/// One package of the workspace.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder, from the tree's root.
    pub folder: String,
    /// Its dependencies.
    pub dependencies: Vec<Dependency>,
    /// Its targets.
    pub targets: Vec<Target>,
    /// As stated, inherited or not.
    pub license: Option<String>,
    /// As stated, inherited or not.
    pub rust_version: Option<String>,
    /// As stated, inherited or not.
    pub edition: String,
    /// Whether it can be published somewhere.
    pub publishable: bool,
}

impl Package {
    /// Its manifest, from the tree's root.
    pub fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(String::from)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn relative(root: &Path, path: &str) -> String {
    Path::new(path).strip_prefix(root).map_or(path.into(), |p| p.to_string_lossy().replace('\\', "/"))
}

fn dependency(value: &Value) -> Option<Dependency> {
    let name = text(&value["name"])?;
    let code_name = text(&value["rename"]).unwrap_or_else(|| name.clone()).replace('-', "_");
    let when = match value["kind"].as_str() {
        Some("dev") => When::Tests,
        Some("build") => When::Build,
        _ => When::Normal,
    };
    Some(Dependency { name, code_name, when, is_path: value["source"].is_null() })
}

fn package(root: &Path, value: &Value) -> Option<Package> {
    let manifest = relative(root, value["manifest_path"].as_str()?);
    let target = |t: &Value| {
        let kinds = list(&t["kind"]).iter().filter_map(text).collect();
        Some(Target { kinds, source: relative(root, t["src_path"].as_str()?) })
    };
    Some(Package {
        name: text(&value["name"])?,
        folder: manifest.strip_suffix("/Cargo.toml").unwrap_or("").into(),
        dependencies: list(&value["dependencies"]).iter().filter_map(dependency).collect(),
        targets: list(&value["targets"]).iter().filter_map(target).collect(),
        license: text(&value["license"]),
        rust_version: text(&value["rust_version"]),
        edition: text(&value["edition"])?,
        publishable: value["publish"].as_array().is_none_or(|to| !to.is_empty()),
    })
}

/// The `cargo` that runs this, or the one on the path.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `cargo metadata` without dependencies, as cargo prints it.
///
/// # Errors
/// What cargo said, when it refuses the workspace.
pub fn metadata(root: &Path) -> Result<Value, String> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .map_err(|e| format!("cargo cannot be started: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata printed no JSON: {e}"))
}

/// The packages of the workspace at `root` (an absolute path), by name.
///
/// # Errors
/// What cargo said, when it refuses the workspace.
pub fn packages(root: &Path) -> Result<Vec<Package>, String> {
    let metadata = metadata(root)?;
    let mut all: Vec<_> = list(&metadata["packages"]).iter().filter_map(|p| package(root, p)).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}
