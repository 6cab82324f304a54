//! The design's rules, checked: a folder says what its code may do, and this holds it to that.

mod dependencies;
mod files;
mod layers;
mod rooms;

use anyhow::{Result, bail};
use cargo_metadata::MetadataCommand;
use std::path::Path;

/// The platform that is released; others may link other crates.
pub(crate) const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// What to do with goldens that differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goldens {
    /// Report the difference.
    Compare,
    /// Rewrite them.
    Rewrite,
}

/// Checks every rule and reports all that is broken.
#[expect(clippy::print_stderr, reason = "a developer's tool speaks on stderr")]
pub(crate) fn run(root: &Path, goldens: Goldens) -> Result<()> {
    let metadata = MetadataCommand::new().manifest_path(root.join("Cargo.toml")).exec()?;
    let mut broken = layers::check(&metadata);
    broken.extend(dependencies::check(root, &metadata, goldens)?);
    for file in files::rust_files(root)? {
        broken.extend(files::check(&file));
        broken.extend(rooms::check(&file));
    }
    for rule in &broken {
        eprintln!("tidy: {rule}");
    }
    if broken.is_empty() { Ok(()) } else { bail!("{} rules are broken", broken.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_tidy() {
        run(&crate::root(), Goldens::Compare).unwrap();
    }
}
