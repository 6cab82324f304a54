//! A wall clock of a site's own: its programs load a library that shifts what the system says.

use crate::preload::Preload;
use anyhow::Result;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const SOURCE: &str = include_str!("clock/shift.c");

/// The clock of one site's processes.
#[derive(Debug)]
pub(crate) struct Clock {
    shift_file: PathBuf,
    preload: Preload,
}

impl Clock {
    /// Makes the library and the programs that load it in `folder`. None without a C compiler.
    pub(crate) fn make(folder: PathBuf) -> Result<Option<Self>> {
        fs::create_dir_all(&folder)?;
        let shift_file = folder.join("shift");
        write(&shift_file, 0)?;
        let defined = [("SHIFT_FILE", &*shift_file.to_string_lossy())];
        let preload = Preload::make_for_all(folder, SOURCE, &defined)?;
        Ok(preload.map(|preload| Self { shift_file, preload }))
    }

    /// Sets the clock of all that run and will run, in seconds from what the system says.
    pub(crate) fn set(&self, shift_s: i64) -> Result<()> {
        write(&self.shift_file, shift_s)
    }

    /// The `palisade` beside which the other programs are on this clock too.
    pub(crate) fn palisade(&self) -> PathBuf {
        self.preload.palisade()
    }

    /// One of the programs that it starts, on this clock.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.preload.program(name)
    }

    /// What a process loads to be on this clock.
    pub(crate) fn library(&self) -> PathBuf {
        self.preload.library()
    }
}

/// Written over: processes have this very file in their memory.
fn write(shift_file: &Path, shift_s: i64) -> Result<()> {
    let file = File::options().create(true).truncate(false).write(true).open(shift_file)?;
    Ok(file.write_all_at(&shift_s.to_ne_bytes(), 0)?)
}
