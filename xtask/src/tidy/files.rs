//! Every source file: short, begun with its purpose, free of empty names and promises.

use anyhow::Result;
use std::path::{Path, PathBuf};

/// Most lines of a file, its tests not counted.
const LINES_MAX: usize = 600;

/// Names that say nothing.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "helper", "common", "manager"];

/// Promises and silenced tests.
const PROMISES: [&str; 5] = ["todo!(", "unimplemented!(", "TODO", "FIXME", "#[ignore"];

/// Where our sources are.
const FOLDERS: [&str; 9] =
    ["ground", "engines", "edges", "planes", "bin", "trials", "fuzz", "benches", "xtask"];

/// One source file.
pub(crate) struct SourceFile {
    /// Its path within the workspace.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl SourceFile {
    /// The part before the tests at the end.
    pub(crate) fn code(&self) -> &str {
        let end = self.text.find("\n#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        self.text.get(..end).unwrap_or_default()
    }

    /// Whether the whole file is a test.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.starts_with("trials/") || self.path.ends_with("/tests.rs")
    }
}

/// Every Rust file of the workspace.
pub(crate) fn rust_files(root: &Path) -> Result<Vec<SourceFile>> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)?;
                let path = path.strip_prefix(root)?.to_string_lossy().into_owned();
                found.push(SourceFile { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Checks one file.
pub(crate) fn check(file: &SourceFile) -> Vec<String> {
    let mut broken = Vec::new();
    let mut said = |why: String| broken.push(format!("{}: {why}", file.path));
    let lines = file.code().lines().count();
    if lines > LINES_MAX && !file.is_test() {
        said(format!("{lines} lines, more than {LINES_MAX}"));
    }
    if !file.text.starts_with("//! ") && !file.text.starts_with("#![") {
        said("does not begin with its purpose (`//! ..`)".to_owned());
    }
    let stem = Path::new(&file.path).file_stem().unwrap_or_default().to_string_lossy();
    if EMPTY_NAMES.contains(&stem.as_ref()) {
        said(format!("`{stem}` says nothing about what is in it"));
    }
    if file.path.starts_with("xtask/src/tidy/") {
        return broken;
    }
    for promise in PROMISES.iter().filter(|promise| file.text.contains(**promise)) {
        said(format!("holds `{promise}`"));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_good_file_passes() {
        assert!(check(&file("engines/plan/src/admit.rs", "//! Purpose.\n")).is_empty());
    }

    #[test]
    fn long_nameless_and_promising_files_are_seen() {
        let long = format!("//! Purpose.\n{}", "x\n".repeat(600));
        for bad in [
            file("a/src/b.rs", &long),
            file("a/src/b.rs", "fn x() {}\n"),
            file("a/src/utils.rs", "//! Purpose.\n"),
            file("a/src/b.rs", "//! Purpose.\nfn x() { todo!() }\n"),
        ] {
            assert_eq!(check(&bad).len(), 1, "{}", bad.path);
        }
    }

    #[test]
    fn tests_at_the_end_do_not_count_as_lines() {
        let text = format!("//! Purpose.\n\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(700));
        assert!(check(&file("a/src/b.rs", &text)).is_empty());
    }
}
