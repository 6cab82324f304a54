//! Where the programs are that `up` starts.

use crate::failure::{Exit, Failure, Outcome};
use crate::state_dir::{DISK, StateDir, closed_ancestor};
use host::files;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The programs that `up` and the node start.
pub(crate) const NAMES: [&str; 4] = ["palisade-control", "palisade-node", "palisade-data", "palisade-meter"];

/// The folder of the programs. If the zones' users cannot reach the folder of this one (such as a build below
/// `/root`), copies in the state directory stand in.
///
/// # Errors
/// When one of them is missing, or cannot be copied.
pub(crate) fn find(state: &StateDir, zones_enforced: bool) -> Outcome<PathBuf> {
    let own = host::process::current_exe_sibling("").map_err(|error| missing(&error.to_string()))?;
    let own = own.as_path();
    for name in NAMES {
        if !own.join(name).is_file() {
            return Err(missing(&format!("`{}` is not there", own.join(name).display())));
        }
    }
    if !zones_enforced || closed_ancestor(&own.join("program")).is_none() {
        return Ok(own.to_owned());
    }
    let copies = state.programs();
    files::create_dir(&copies, 0o711, files::Owner::This).map_err(|e| Failure::of_file(&e, DISK))?;
    for name in NAMES {
        copy_newer(&own.join(name), &copies.join(name))?;
    }
    Ok(copies)
}

fn missing(why: &str) -> Failure {
    Failure::new(
        Exit::Failure,
        "program_missing",
        format!("the programs of this release are not together: {why}"),
        "build all of them: cargo build --release; or install them beside `palisade`",
    )
}

/// Copies a program unless the copy is of this very build.
fn copy_newer(from: &Path, to: &Path) -> Outcome {
    let same = |a: &fs::Metadata, b: &fs::Metadata| {
        a.len() == b.len() && a.modified().ok().zip(b.modified().ok()).is_some_and(|(a, b)| a <= b)
    };
    let copied = || {
        if same(&fs::metadata(from)?, &fs::metadata(to).or_else(|_| fs::metadata("/dev/null"))?) {
            return Ok(());
        }
        let partial = to.with_extension("partial");
        fs::copy(from, &partial)?;
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
        fs::rename(&partial, to)
    };
    copied().map_err(|error: std::io::Error| Failure::bad_file(to, error, DISK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_copied_once_and_again_when_it_was_built_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "one").unwrap();
        copy_newer(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);
        fs::write(&from, "newer").unwrap();
        copy_newer(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "newer");
    }
}
