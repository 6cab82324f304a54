//! A library that a site's programs load before their own: to stand in their place, or to act from within them.

use crate::site::program;
use anyhow::{Result, ensure};
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What `palisade` starts, without the environment that it was started with itself.
const STARTED: [&str; 4] = ["palisade-control", "palisade-node", "palisade-data", "palisade-meter"];

/// The programs of one site, some of which load a library.
#[derive(Debug)]
pub(crate) struct Preload {
    folder: PathBuf,
}

impl Preload {
    /// Makes the library from C in `folder`, and programs beside it of which those in `loading` load it. None without
    /// a C compiler.
    pub(crate) fn make(
        folder: PathBuf,
        source: &str,
        defined: &[(&str, &str)],
        loading: &[&str],
    ) -> Result<Option<Self>> {
        let preload = Self { folder };
        let real = preload.folder.join("real");
        fs::create_dir_all(&real)?;
        if !preload.compile(source, defined)? {
            return Ok(None);
        }
        link(&program("palisade"), &preload.palisade())?;
        for name in STARTED {
            if !loading.contains(&name) {
                link(&program(name), &preload.folder.join(name))?;
                continue;
            }
            link(&program(name), &real.join(name))?;
            let script = format!(
                "#!/bin/sh\nLD_PRELOAD='{}' exec '{}' \"$@\"\n",
                preload.library().display(),
                real.join(name).display()
            );
            fs::write(preload.folder.join(name), script)?;
        }
        // As root, each zone is a user of its own, and runs and reads what is here.
        for entry in [fs::read_dir(&preload.folder)?, fs::read_dir(&real)?].into_iter().flatten() {
            fs::set_permissions(entry?.path(), Permissions::from_mode(0o755))?;
        }
        fs::set_permissions(&preload.folder, Permissions::from_mode(0o755))?;
        Ok(Some(preload))
    }

    /// Makes it for every program that a site starts.
    pub(crate) fn make_for_all(
        folder: PathBuf,
        source: &str,
        defined: &[(&str, &str)],
    ) -> Result<Option<Self>> {
        Self::make(folder, source, defined, &STARTED)
    }

    /// The `palisade` beside these programs.
    pub(crate) fn palisade(&self) -> PathBuf {
        self.program("palisade")
    }

    /// One of the programs that it starts.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What is loaded.
    pub(crate) fn library(&self) -> PathBuf {
        self.folder.join("preloaded.so")
    }

    fn compile(&self, source: &str, defined: &[(&str, &str)]) -> Result<bool> {
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]);
        command.args(defined.iter().map(|(name, text)| format!("-D{name}=\"{text}\"")));
        command.args(["-x", "c", "-", "-o"]).arg(self.library());
        let Ok(mut compiler) = command.stdin(Stdio::piped()).spawn() else { return Ok(false) };
        // Dropped at the end of the statement, which is the end of the source.
        compiler.stdin.take().map(|mut input| input.write_all(source.as_bytes())).transpose()?;
        ensure!(compiler.wait()?.success(), "the library cannot be compiled");
        Ok(true)
    }
}

/// The same file under another name; a copy where that is on another disk.
fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
    }
    Ok(())
}
