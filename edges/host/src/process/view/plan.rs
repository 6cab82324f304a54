//! From a view to the mounts that make it, in their order.

use super::View;
use super::mounts::{Mounts, Step};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::CString;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// Devices that give or take bytes and are nobody's.
const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// Most symbolic links on the way to one path; as many as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// What a path is to be in the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Readable,
    Writable,
    Hidden,
    Device,
    Scratch,
    Processes,
}

/// What lies at a path that was mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// A file system of the view's own that is shut in the end. The way to what lies deeper has to be made in it.
    Empty,
    /// One that stays open.
    Scratch,
    /// The machine's files, with this access.
    Machine(Kind),
}

impl View {
    /// The mounts of this view, for a child that works in `cwd`.
    ///
    /// # Errors
    /// When a readable or writable path is not there, or one cannot be followed.
    pub(in crate::process) fn mounts(&self, cwd: &Path) -> io::Result<Mounts> {
        let mut plan = Plan::default();
        for path in &self.readable {
            plan.want(path, Kind::Readable)?;
        }
        for path in DEVICES.into_iter().map(Path::new).filter(|path| path.exists()) {
            plan.want(path, Kind::Device)?;
        }
        for path in &self.writable {
            plan.want(path, Kind::Writable)?;
        }
        for path in self.hidden.iter().filter(|path| path.exists()) {
            plan.want(path, Kind::Hidden)?;
        }
        plan.want("/proc".as_ref(), Kind::Processes)?;
        plan.want("/tmp".as_ref(), Kind::Scratch)?;
        plan.lay_out(&std::path::absolute(cwd)?)
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    kind: Kind,
    folder: bool,
}

#[derive(Default)]
struct Plan {
    /// By their paths without links; parents come before what is in them.
    places: BTreeMap<PathBuf, Place>,
    /// The links on the way to them, and where they lead.
    links: BTreeMap<PathBuf, PathBuf>,
    grounds: BTreeMap<PathBuf, Ground>,
    made: BTreeSet<PathBuf>,
    steps: Vec<Step>,
}

impl Plan {
    fn want(&mut self, path: &Path, kind: Kind) -> io::Result<()> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
        let (real, about) = std::path::absolute(path).and_then(|path| self.follow(&path)).map_err(named)?;
        self.places.insert(real, Place { kind, folder: about.is_dir() });
        Ok(())
    }

    /// Follows the links in a path as the kernel does, and notes them: the child will follow them again.
    fn follow(&mut self, path: &Path) -> io::Result<(PathBuf, Metadata)> {
        let mut real = PathBuf::from("/");
        let mut about = real.symlink_metadata()?;
        let mut rest: VecDeque<PathBuf> = path.components().map(|part| part.as_os_str().into()).collect();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            match part.components().next() {
                Some(Component::ParentDir) => {
                    real.pop();
                    continue;
                }
                Some(Component::Normal(name)) => real.push(name),
                Some(Component::RootDir) => real = PathBuf::from("/"),
                Some(Component::CurDir | Component::Prefix(_)) | None => continue,
            }
            about = real.symlink_metadata()?;
            if about.is_symlink() {
                links += 1;
                if links > LINKS_MAX {
                    return Err(io::Error::other("too many symbolic links"));
                }
                let target = std::fs::read_link(&real)?;
                for part in target.components().rev() {
                    rest.push_front(part.as_os_str().into());
                }
                self.links.insert(real.clone(), target);
                real.pop();
            }
        }
        Ok((real, about))
    }

    fn lay_out(mut self, cwd: &Path) -> io::Result<Mounts> {
        self.grounds.insert("/".into(), Ground::Empty);
        for (path, place) in std::mem::take(&mut self.places) {
            self.place(&path, place)?;
        }
        for (path, target) in std::mem::take(&mut self.links) {
            // In the machine's own folders, its links are there already.
            if self.ground_of(&path).is_own() {
                self.make_way_to(&path)?;
                self.steps.push(Step::Link { at: inside(&path)?, to: text(target.as_os_str().as_bytes())? });
            }
        }
        for (path, _) in self.grounds.iter().filter(|(_, ground)| **ground == Ground::Empty) {
            self.steps.push(Step::Shut(inside(path)?));
        }
        Ok(Mounts { steps: self.steps, cwd: text(cwd.as_os_str().as_bytes())? })
    }

    fn place(&mut self, path: &Path, place: Place) -> io::Result<()> {
        let ground = self.ground_of(path);
        match place.kind {
            // What is not there need not be hidden, and what is there as it should be need not be mounted.
            Kind::Hidden if ground.is_own() => return Ok(()),
            kind if ground == Ground::Machine(kind) => return Ok(()),
            _ if path == Path::new("/") => {
                return Err(io::Error::other("the whole machine is no view of it"));
            }
            Kind::Readable
            | Kind::Writable
            | Kind::Hidden
            | Kind::Device
            | Kind::Scratch
            | Kind::Processes => {}
        }
        if ground.is_own() {
            self.make_way_to(path)?;
            self.made.insert(path.into());
            let at = inside(path)?;
            self.steps.push(if place.folder { Step::Folder(at) } else { Step::File(at) });
        }
        let (from, at) = (text(path.as_os_str().as_bytes())?, inside(path)?);
        let (step, ground) = match place.kind {
            Kind::Readable => (Step::Readable { from, at }, Ground::Machine(Kind::Readable)),
            Kind::Writable => (Step::Writable { from, at }, Ground::Machine(Kind::Writable)),
            Kind::Device => (Step::Device { from, at }, Ground::Machine(Kind::Device)),
            Kind::Hidden => (Step::Empty(at), Ground::Empty),
            Kind::Scratch => (Step::Scratch(at), Ground::Scratch),
            Kind::Processes => (Step::Processes(at), Ground::Machine(Kind::Processes)),
        };
        self.steps.push(step);
        self.grounds.insert(path.to_owned(), ground);
        Ok(())
    }

    /// What lies where `path` is going to be.
    fn ground_of(&self, path: &Path) -> Ground {
        let mut above = path.ancestors().filter_map(|folder| self.grounds.get(folder));
        above.next().copied().unwrap_or(Ground::Empty)
    }

    /// Makes the folders between the file system that `path` is going to be on and `path`.
    fn make_way_to(&mut self, path: &Path) -> io::Result<()> {
        let missing = |folder: &&Path| !self.grounds.contains_key(*folder) && !self.made.contains(*folder);
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(missing).collect();
        for folder in missing.into_iter().rev() {
            self.steps.push(Step::Folder(inside(folder)?));
            self.made.insert(folder.to_owned());
        }
        Ok(())
    }
}

impl Ground {
    const fn is_own(self) -> bool {
        match self {
            Self::Empty | Self::Scratch => true,
            Self::Machine(_) => false,
        }
    }
}

/// A path of the view, from its root.
fn inside(path: &Path) -> io::Result<CString> {
    let bytes = path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes();
    text(if bytes.is_empty() { b"." } else { bytes })
}

fn text(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::from)
}
