//! The files that a crash tears and a disk spoils.

use memchr::memmem;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use trials::Site;

/// The newest segment of the data plane's journal.
pub(crate) fn plan_journal(site: &Site) -> PathBuf {
    let folder = site.state_of("data-").unwrap().join("journal");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|is| is == "segment")).max().unwrap()
}

/// The sidecar's one file.
pub(crate) fn metering_journal(site: &Site) -> PathBuf {
    site.state_of("meter-").unwrap().join("metering.journal")
}

/// Where in the sidecar's file its heartbeats begin, the oldest first.
pub(crate) fn heartbeats_in(metering_journal: &Path) -> Vec<u64> {
    let bytes = std::fs::read(metering_journal).unwrap();
    memmem::find_iter(&bytes, br#"{"beat":"#).map(|at| at as u64).collect()
}

pub(crate) fn append_garbage(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0xA5; 333], length(&file)).unwrap();
}

pub(crate) fn cut_short(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length(&file) - 7).unwrap();
}

pub(crate) fn flip_byte_in_the_middle(path: &Path) {
    flip_byte(path, std::fs::metadata(path).unwrap().len() / 2);
}

pub(crate) fn flip_byte(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

fn length(file: &File) -> u64 {
    file.metadata().unwrap().len()
}
