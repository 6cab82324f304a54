//! Dependencies: each named once with its reason, none from git, one crypto provider, a golden for each binary.

use super::Goldens;
use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, PackageId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Crates that must never be linked, each with the reason.
const FORBIDDEN: [(&str, &str); 4] = [
    ("ring", "aws-lc-rs is the one crypto provider"),
    ("native-tls", "rustls is the one TLS library"),
    ("openssl", "only SQLCipher's page cipher may use OpenSSL, through openssl-sys"),
    ("async-std", "tokio is the one runtime"),
];

/// Crypto implementations that may be linked, each with the reason. A new one is a decision.
const CRYPTO: [(&str, &str); 2] =
    [("aws-lc-sys", "the provider"), ("openssl-sys", "SQLCipher's page cipher, static")];

/// Checks the workspace's dependencies.
pub(crate) fn check(root: &Path, metadata: &Metadata, goldens: Goldens) -> Result<Vec<String>> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let mut broken = reasons(&manifest);
    for package in &metadata.packages {
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
    broken.extend(compare(root, metadata, goldens)?);
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
fn compare(root: &Path, metadata: &Metadata, goldens: Goldens) -> Result<Vec<String>> {
    let path = root.join("xtask/goldens/dependencies.txt");
    let mut text = String::new();
    for (binary, crates) in linked(metadata)? {
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
fn linked(metadata: &Metadata) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let resolve = metadata.resolve.as_ref().context("cargo metadata without a resolve")?;
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: BTreeMap<&PackageId, _> =
        metadata.packages.iter().map(|p| (&p.id, p.name.to_string())).collect();
    let mut binaries = BTreeMap::new();
    for package in metadata.workspace_packages().iter().filter(|p| p.manifest_path.as_str().contains("/bin/"))
    {
        let (mut seen, mut open) = (BTreeSet::new(), vec![&package.id]);
        while let Some(id) = open.pop() {
            let Some(node) = nodes.get(id) else { continue };
            let normal = |kinds: &[cargo_metadata::DepKindInfo]| {
                kinds.iter().any(|k| k.kind == DependencyKind::Normal)
            };
            for dependency in node.deps.iter().filter(|d| normal(&d.dep_kinds)) {
                if seen.insert(&dependency.pkg) {
                    open.push(&dependency.pkg);
                }
            }
        }
        let members = &metadata.workspace_members;
        let external = seen.into_iter().filter(|id| !members.contains(id));
        let crates = external.filter_map(|id| names.get(id).cloned()).collect();
        binaries.insert(package.name.to_string(), crates);
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
