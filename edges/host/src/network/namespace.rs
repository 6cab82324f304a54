//! Network namespaces: made, found, entered, removed (network_namespaces(7)).
//!
//! Names are kept as `ip netns` keeps them, so that an operator's tools see them.

use super::name::{LinkName, NamespaceName, Tag};
use super::stack::{Stack, StackError};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Where names of namespaces are kept, by `ip netns` and by us.
const NAMES: &str = "/run/netns";

/// The file system that namespaces live on (`NSFS_MAGIC`).
const NSFS: u64 = 0x6e73_6673;

/// A network namespace. **While one is held, its namespace lives on**: hold that of a tenant's router no longer than
/// a step takes, because the router's namespace must end when its keeper does.
#[derive(Debug, Clone)]
pub struct Namespace {
    file: Arc<OwnedFd>,
    what: Arc<str>,
}

/// Proof that this thread stands in a namespace that was entered on purpose. It cannot leave its thread.
#[derive(Debug)]
pub struct Inside {
    stays: PhantomData<*const ()>,
}

/// A namespace of ours that has a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owned {
    /// Its name.
    pub name: NamespaceName,
    /// What it was made for; none on a name without a namespace behind it, which a crash leaves.
    pub tag: Option<Tag>,
}

/// Says why a namespace could not be made, found, entered or removed.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// There is none.
    #[error("there is no network namespace `{0}`")]
    Absent(Arc<str>),
    /// There is one already.
    #[error("the network namespace `{0}` exists already")]
    Exists(NamespaceName),
    /// It bears our name but not our tag.
    #[error("the network namespace `{0}` has no tag of ours: remove or rename it yourself")]
    Foreign(NamespaceName),
    /// The system refuses.
    #[error("cannot {deed} the network namespace `{what}`: {source}")]
    Refused {
        /// What was tried.
        deed: &'static str,
        /// Which one.
        what: Arc<str>,
        /// The system's reason.
        source: io::Error,
    },
    /// Its loopback could not be tagged or read.
    #[error("the network namespace `{what}`: {source}")]
    Stack {
        /// Which one.
        what: Arc<str>,
        /// Why.
        source: StackError,
    },
    /// What ran inside it panicked.
    #[error("what ran in the network namespace `{0}` panicked")]
    Panicked(Arc<str>),
}

impl Namespace {
    /// Makes a namespace with only a loopback (down) that bears `tag`, and keeps it under `name` until
    /// [`Namespace::remove`]. The name appears last: a crash leaves at most a name without a namespace, which the
    /// next call takes.
    ///
    /// # Errors
    /// When the name is taken, or this process may not make namespaces or mounts.
    pub fn create(name: &NamespaceName, tag: &Tag) -> Result<Self, NamespaceError> {
        let what: Arc<str> = name.as_ref().into();
        let refused =
            |deed| move |source| NamespaceError::Refused { deed, what: name.as_ref().into(), source };
        let path = path_of(name);
        match Self::open(name) {
            Ok(_) => return Err(NamespaceError::Exists(name.clone())),
            Err(NamespaceError::Absent(_)) => {}
            Err(other) => return Err(other),
        }
        share_names().map_err(refused("keep names for"))?;
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(refused("name"))?;
        on_own_thread(&what, || {
            unshare_network().map_err(refused("make"))?;
            let inside = Inside::here();
            let tagged = Stack::open(&inside).and_then(|mut stack| stack.tag_loopback(tag));
            tagged.map_err(|source| NamespaceError::Stack { what: what.clone(), source })?;
            rustix::mount::mount_bind("/proc/thread-self/ns/net", &path)
                .map_err(|errno| refused("name")(errno.into()))
        })??;
        Self::open(name)
    }

    /// The namespace of ours with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(name: &NamespaceName) -> Result<Self, NamespaceError> {
        Self::open_path(&path_of(name), name.as_ref().into())
    }

    /// The namespace that process `pid` runs in. Process ids are used again: be sure that it lives.
    ///
    /// # Errors
    /// When there is no such process, or this one may not look at it.
    pub fn of_process(pid: u32) -> Result<Self, NamespaceError> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        Self::open_path(&path, path.to_string_lossy().into())
    }

    /// The namespace that this process runs in: on a node, the host's.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn own() -> Result<Self, NamespaceError> {
        Self::open_path(Path::new("/proc/self/ns/net"), "of this process".into())
    }

    /// The namespace that this thread stands in.
    pub(super) fn own_of_thread() -> Result<Self, NamespaceError> {
        Self::open_path(Path::new("/proc/thread-self/ns/net"), "of this thread".into())
    }

    /// The namespace behind a file that another process handed over.
    ///
    /// # Errors
    /// When the file is not a namespace.
    pub fn from_file(file: OwnedFd, what: &str) -> Result<Self, NamespaceError> {
        let what: Arc<str> = what.into();
        let about = rustix::fs::fstatfs(&file);
        let about = about.map_err(|errno| refused("look at", &what, errno))?;
        if u64::try_from(about.f_type).ok() != Some(NSFS) {
            return Err(NamespaceError::Absent(what));
        }
        Ok(Self { file: Arc::new(file), what })
    }

    fn open_path(path: &Path, what: Arc<str>) -> Result<Self, NamespaceError> {
        let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        match opened {
            Ok(file) => Self::from_file(file, &what),
            Err(rustix::io::Errno::NOENT) => Err(NamespaceError::Absent(what)),
            Err(errno) => Err(refused("open", &what, errno)),
        }
    }

    /// Removes the name `name`, and with it the namespace once nothing runs in it or holds it. Nothing to remove is
    /// no error.
    ///
    /// # Errors
    /// When it has no tag of ours, or the system refuses.
    pub fn remove(name: &NamespaceName) -> Result<(), NamespaceError> {
        let path = path_of(name);
        let what: Arc<str> = name.as_ref().into();
        match Self::open(name) {
            Ok(found) => {
                if found.tag()?.is_none() {
                    return Err(NamespaceError::Foreign(name.clone()));
                }
                rustix::mount::unmount(&path, UnmountFlags::DETACH)
                    .map_err(|errno| refused("unmount", &what, errno))?;
            }
            Err(NamespaceError::Absent(_)) => {}
            Err(other) => return Err(other),
        }
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(refused("remove the name of", &what, errno)),
        }
    }

    /// The namespaces of ours that have a name, in the order of their names.
    ///
    /// # Errors
    /// When one cannot be entered or read.
    pub fn list() -> Result<Vec<Owned>, NamespaceError> {
        let what: Arc<str> = NAMES.into();
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(NAMES) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(refused("list", &what, error)),
        };
        for entry in entries {
            let file_name = entry.map_err(|error| refused("list", &what, error))?.file_name();
            let Some(name) = file_name.to_str().and_then(|text| text.parse::<NamespaceName>().ok()) else {
                continue;
            };
            match Self::open(&name) {
                // One without our tag bears our name by chance: it is not ours.
                Ok(namespace) => {
                    if let Some(tag) = namespace.tag()? {
                        found.push(Owned { name, tag: Some(tag) });
                    }
                }
                Err(NamespaceError::Absent(_)) => found.push(Owned { name, tag: None }),
                Err(other) => return Err(other),
            }
        }
        found.sort();
        Ok(found)
    }

    /// When a name was last added or removed, whoever did it, as the file system says; none while there are no names.
    #[must_use]
    pub fn names_changed_at() -> Option<(i64, i64)> {
        let names = rustix::fs::stat(NAMES).ok()?;
        Some((names.st_mtime, i64::try_from(names.st_mtime_nsec).unwrap_or_default()))
    }

    /// What it was made for, if it is ours.
    ///
    /// # Errors
    /// When it cannot be entered or read.
    pub fn tag(&self) -> Result<Option<Tag>, NamespaceError> {
        let alias = self.enter_blocking(|inside| {
            Stack::open(inside).and_then(|mut stack| stack.link(&LinkName::loopback())).map(|link| link.alias)
        })?;
        let alias = alias.map_err(|source| NamespaceError::Stack { what: self.what.clone(), source })?;
        Ok(alias.and_then(|alias| alias.parse().ok()))
    }

    /// Whether both are one and the same.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_same_as(&self, other: &Self) -> io::Result<bool> {
        let (one, two) = (rustix::fs::fstat(&self.file)?, rustix::fs::fstat(&other.file)?);
        Ok((one.st_dev, one.st_ino) == (two.st_dev, two.st_ino))
    }

    /// Whether it is what the name stands for.
    #[must_use]
    pub fn stands_at(&self, name: &NamespaceName) -> bool {
        match (rustix::fs::fstat(&self.file), rustix::fs::stat(path_of(name))) {
            (Ok(one), Ok(two)) => (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// Runs `work` inside, on a thread of its own that ends with it, and waits.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `work` panics.
    pub fn enter_blocking<T: Send>(
        &self,
        work: impl FnOnce(&Inside) -> T + Send,
    ) -> Result<T, NamespaceError> {
        on_own_thread(&self.what, || self.enter_for_good(work))?
    }

    /// Runs `work` inside, on a thread of its own that ends with it. Dropping the future does not end `work`.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `work` panics.
    pub async fn enter<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inside) -> T + Send + 'static,
    ) -> Result<T, NamespaceError> {
        let (reply, answer) = oneshot::channel();
        let here = self.clone();
        std::thread::Builder::new()
            .name("namespace".to_owned())
            .spawn(move || {
                let done = here.enter_for_good(work);
                // Let go first: whoever waits may expect that nothing holds the namespace any more.
                drop(here);
                let _ = reply.send(done);
            })
            .map_err(|error| refused("start a thread for", &self.what, error))?;
        answer.await.map_err(|_| NamespaceError::Panicked(self.what.clone()))?
    }

    /// Moves the calling thread inside. It never comes back, so it must end after this.
    fn enter_for_good<T>(&self, work: impl FnOnce(&Inside) -> T) -> Result<T, NamespaceError> {
        rustix::thread::move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| refused("enter", &self.what, errno))?;
        Ok(work(&Inside::here()))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Inside {
    /// The caller states that this thread stands in the namespace that it wants to act on.
    pub(super) const fn here() -> Self {
        Self { stays: PhantomData }
    }
}

fn refused(deed: &'static str, what: &Arc<str>, source: impl Into<io::Error>) -> NamespaceError {
    NamespaceError::Refused { deed, what: what.clone(), source: source.into() }
}

fn path_of(name: &NamespaceName) -> PathBuf {
    Path::new(NAMES).join(name.as_ref())
}

/// Runs `work` on a thread that ends with it.
fn on_own_thread<T: Send>(what: &Arc<str>, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| refused("start a thread for", what, error))?;
        thread.join().map_err(|_| NamespaceError::Panicked(what.clone()))
    })
}

/// Moves the calling thread into a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    #[expect(unsafe_code, reason = "the call is unsafe for its other flags")]
    // SAFETY: unsafe is only the separation of file descriptors between threads, which this flag does not ask for.
    let done = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
    Ok(done?)
}

/// Makes names appear in, and above all vanish from, every mount namespace, as `ip netns` does: a name left behind
/// in a service's own view would keep its namespace alive.
fn share_names() -> io::Result<()> {
    let propagation = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    std::fs::create_dir_all(NAMES)?;
    match rustix::mount::mount_change(NAMES, propagation) {
        // Not a mount point yet.
        Err(rustix::io::Errno::INVAL) => {
            rustix::mount::mount_bind_recursive(NAMES, NAMES)?;
            Ok(rustix::mount::mount_change(NAMES, propagation)?)
        }
        done => Ok(done?),
    }
}
