//! Looks for bytes in files, as somebody would who stole the disk.

use memchr::memmem;
use std::path::{Path, PathBuf};

/// Every file below `folder`.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    // A file that is being replaced may be gone already.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&path)),
            Ok(kind) if kind.is_file() => files.push(path),
            Ok(_) | Err(_) => {}
        }
    }
    files
}

/// The files below `folder` that hold `needle` as it is, or as base64 or hexadecimal digits would show it.
pub(crate) fn files_with(folder: &Path, needle: impl AsRef<[u8]>) -> Vec<PathBuf> {
    let forms = forms(needle.as_ref());
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        forms.iter().any(|form| memmem::find(&bytes, form).is_some())
    };
    files_below(folder).into_iter().filter(holds).collect()
}

/// The ways in which `needle` may stand in a file. Base64 shows bytes in three ways, by where they begin.
fn forms(needle: &[u8]) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    let shifted = (0..3).map(|shift| {
        let text = STANDARD_NO_PAD.encode([&vec![0; shift], needle].concat());
        // The first characters also hold bits of what stands before, the last ones of what follows.
        text.as_bytes()[(shift * 4).div_ceil(3)..text.len() - 1].to_vec()
    });
    let hex: String = needle.iter().map(|byte| format!("{byte:02x}")).collect();
    [needle.to_vec(), hex.into_bytes()].into_iter().chain(shifted).collect()
}

#[test]
fn a_needle_is_found_in_each_form_and_nothing_else_is() {
    use base64::Engine as _;
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    for (name, content) in [
        ("plain", "a quetzal here".to_owned()),
        ("0", encoded("quetzal here")),
        ("1", encoded("aquetzal")),
        ("2", encoded("a quetzal, and more")),
        ("hex", "71756574 7175 7175657 7a616c 7175657 717565747a616c".to_owned()),
        ("other", "a quetza here, and a Quetzal".to_owned()),
    ] {
        std::fs::write(inner.join(name), content).unwrap();
    }
    let mut found = files_with(folder.path(), "quetzal");
    found.sort();
    let expected = ["0", "1", "2", "hex", "plain"].map(|name| inner.join(name));
    assert_eq!(found, expected);
}
