//! A wall clock of a site's own: its programs load a library that shifts what the system says.

use crate::site::program;
use anyhow::{Result, ensure};
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOURCE: &str = include_str!("clock/shift.c");

/// What `palisade` starts, without the environment that it was started with itself.
const STARTED: [&str; 4] = ["palisade-control", "palisade-node", "palisade-data", "palisade-meter"];

/// The clock of one site's processes.
#[derive(Debug)]
pub(crate) struct Clock {
    folder: PathBuf,
}

impl Clock {
    /// Makes the library and the programs that load it in `folder`. None without a C compiler.
    pub(crate) fn make(folder: PathBuf) -> Result<Option<Self>> {
        let clock = Self { folder };
        let real = clock.folder.join("real");
        fs::create_dir_all(&real)?;
        clock.set(0)?;
        if !clock.compile()? {
            return Ok(None);
        }
        link(&program("palisade"), &clock.palisade())?;
        for name in STARTED {
            link(&program(name), &real.join(name))?;
            let script = format!(
                "#!/bin/sh\nLD_PRELOAD='{}' exec '{}' \"$@\"\n",
                clock.library().display(),
                real.join(name).display()
            );
            fs::write(clock.folder.join(name), script)?;
        }
        // As root, each zone is a user of its own, and runs and reads what is here.
        for entry in [fs::read_dir(&clock.folder)?, fs::read_dir(&real)?].into_iter().flatten() {
            fs::set_permissions(entry?.path(), Permissions::from_mode(0o755))?;
        }
        fs::set_permissions(&clock.folder, Permissions::from_mode(0o755))?;
        Ok(Some(clock))
    }

    /// Sets the clock of all that run and will run, in seconds from what the system says.
    pub(crate) fn set(&self, shift_s: i64) -> Result<()> {
        // Written over: processes have this very file in their memory.
        let file = File::options().create(true).truncate(false).write(true).open(self.shift_file())?;
        Ok(file.write_all_at(&shift_s.to_ne_bytes(), 0)?)
    }

    /// The `palisade` beside which the other programs are on this clock too.
    pub(crate) fn palisade(&self) -> PathBuf {
        self.folder.join("palisade")
    }

    /// One of the programs that it starts, on this clock.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a process loads to be on this clock.
    pub(crate) fn library(&self) -> PathBuf {
        self.folder.join("shift.so")
    }

    fn shift_file(&self) -> PathBuf {
        self.folder.join("shift")
    }

    fn compile(&self) -> Result<bool> {
        let file = format!("-DSHIFT_FILE=\"{}\"", self.shift_file().display());
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", &file, "-x", "c", "-", "-o"]);
        let Ok(mut compiler) = command.arg(self.library()).stdin(Stdio::piped()).spawn() else {
            return Ok(false);
        };
        // Dropped at the end of the statement, which is the end of the source.
        compiler.stdin.take().map(|mut input| input.write_all(SOURCE.as_bytes())).transpose()?;
        ensure!(compiler.wait()?.success(), "the clock's library cannot be compiled");
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
