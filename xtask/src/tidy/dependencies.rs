//! Dependencies: each named once with its reason, none from git, one crypto provider, a golden for each binary.

use super::{Goldens, PLATFORM};
use anyhow::Result;
use cargo_metadata::Metadata;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Crates that must never be linked, each with the reason.
const FORBIDDEN: [(&str, &str); 4] = [
    ("ring", "aws-lc-rs is the one crypto provider"),
    ("native-tls", "rustls is the one TLS library"),
    ("openssl", "only SQLCipher's page cipher may use OpenSSL, through openssl-sys"),
    ("async-std", "tokio is the one runtime"),
];

/// Crypto implementations that may be linked, each with the reason. A new one is a decision.
const CRYPTO: [(&str, &str); 3] = [
    ("aws-lc-rs", "the provider, as Rust sees it"),
    ("aws-lc-sys", "the provider"),
    ("openssl-sys", "SQLCipher's page cipher, static"),
];

/// Checks the workspace's dependencies.
pub(crate) fn check(root: &Path, metadata: &Metadata, goldens: Goldens) -> Result<Vec<String>> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let mut broken = reasons(&manifest);
    let linked = linked(root, metadata)?;
    let is_linked = |name: &str| linked.values().any(|crates| crates.contains(name));
    for package in metadata.packages.iter().filter(|package| is_linked(package.name.as_str())) {
        if let Some((_, why)) = FORBIDDEN.iter().find(|(name, _)| *name == package.name.as_str()) {
            broken.push(format!("dependency `{}`: {why}", package.name));
        }
        let from_git = package.source.as_ref().is_some_and(|source| source.repr.starts_with("git+"));
        if from_git {
            broken.push(format!("dependency `{}` comes from git", package.name));
        }
        let is_crypto = package.links.as_ref().is_some_and(|l| l.contains("aws_lc") || l.contains("openssl"));
        if is_crypto && !CRYPTO.iter().any(|(name, _)| *name == package.name.as_str()) {
            broken.push(format!("dependency `{}` brings another crypto library", package.name));
        }
    }
    broken.extend(compare(root, &linked, goldens)?);
    Ok(broken)
}

/// Every external dependency of the workspace says why it is there.
fn reasons(manifest: &str) -> Vec<String> {
    let after = manifest.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    let table = after.split("\n[").next().unwrap_or_default();
    let lines = table.lines().filter(|line| line.contains(" = {") || line.contains(" = \""));
    lines
        .filter(|line| !line.contains("path = ") && !line.contains("# "))
        .map(|line| format!("Cargo.toml: no reason beside `{}`", line.split(' ').next().unwrap_or_default()))
        .collect()
}

/// Compares what each binary links with its golden.
fn compare(root: &Path, linked: &Linked, goldens: Goldens) -> Result<Vec<String>> {
    let path = root.join("xtask/goldens/dependencies.txt");
    let mut text = String::new();
    for (binary, crates) in linked {
        text.push_str(&format!("{binary} ({})\n", crates.len()));
        for name in crates {
            text.push_str(&format!("  {name}\n"));
        }
    }
    if goldens == Goldens::Rewrite {
        std::fs::create_dir_all(root.join("xtask/goldens"))?;
        std::fs::write(&path, &text)?;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let same = kept == text;
    Ok(if same { vec![] } else { vec![format!("{}: stale; cargo xtask tidy --update", path.display())] })
}

/// The external crates that each binary links.
type Linked = BTreeMap<String, BTreeSet<String>>;

/// Asks cargo for each binary's normal dependencies, as its features are really resolved (`cargo metadata` adds
/// optional crates that nobody turned on).
fn linked(root: &Path, metadata: &Metadata) -> Result<Linked> {
    let ours: BTreeSet<&str> = metadata.workspace_packages().iter().map(|p| p.name.as_str()).collect();
    let mut binaries = BTreeMap::new();
    for package in metadata.workspace_packages() {
        if !package.manifest_path.as_str().contains("/bin/") {
            continue;
        }
        let arguments =
            ["tree", "--package", package.name.as_str(), "--edges", "normal", "--target", PLATFORM];
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .args(["--prefix", "none", "--format", "{p}"])
            .current_dir(root)
            .output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        let names = text.lines().filter_map(|line| line.split(' ').next());
        let external = names.filter(|name| !name.is_empty() && !ours.contains(name));
        binaries.insert(package.name.to_string(), external.map(str::to_owned).collect());
    }
    Ok(binaries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_seen() {
        let manifest = "[workspace.dependencies]\nown = { path = \"x\" }\ngood = \"1\" # because\nbad = \"2\"\n[profile]\nx = \"3\"\n";
        assert_eq!(reasons(manifest), ["Cargo.toml: no reason beside `bad`"]);
    }
}
