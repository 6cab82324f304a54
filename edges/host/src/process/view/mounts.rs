//! The mounts of a view, made by a child before it becomes its program: system calls only, nothing allocated.

use libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};
use rustix::thread::UnshareFlags;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

/// Bytes of the view's root, and of what hides a folder: only folders and links are made there.
const EMPTY_BYTES: &CStr = c"1m";

/// Bytes and files of the child's `/tmp`: they are memory, which counts against its group.
const SCRATCH_BYTES: &CStr = c"16m";
const SCRATCH_FILES: &CStr = c"4096";

/// How a view is made.
#[derive(Debug)]
pub(in crate::process) struct Mounts {
    pub(super) steps: Vec<Step>,
    /// Where the child works; it was reached by the machine's root before, from which it must not go on.
    pub(super) cwd: CString,
}

/// One step. Paths `at` are from the view's root, `from` from the machine's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a folder, to mount on or to go through.
    Folder(CString),
    /// Make a file to mount on.
    File(CString),
    /// Make a symbolic link.
    Link { at: CString, to: CString },
    /// Show what is there, mounts in it included, to be read.
    Readable { from: CString, at: CString },
    /// Show what is there, mounts in it included, to be read and written.
    Writable { from: CString, at: CString },
    /// Show a device.
    Device { from: CString, at: CString },
    /// Show nothing.
    Empty(CString),
    /// Give it a folder of its own.
    Scratch(CString),
    /// Show the processes of its user.
    Processes(CString),
    /// Nothing more is made in what shows nothing.
    Shut(CString),
}

impl Mounts {
    /// Moves the calling thread, and nothing else, into the view.
    pub(in crate::process) fn enter(&self) -> io::Result<()> {
        unshare_mounts()?;
        // The ways through the view are everybody's, whatever this process keeps to itself.
        rustix::process::umask(Mode::empty());
        rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        // On top of the machine's root, which stays this thread's own for as long as paths have to be found in it.
        let root = new(c"tmpfs", &[(c"size", EMPTY_BYTES), (c"mode", c"755")], NO_PROGRAMS)?;
        attach(&root, c"/")?;
        rustix::process::fchdir(&root)?;
        self.steps.iter().try_for_each(Step::take)?;
        rustix::process::pivot_root(c".", c".")?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir(self.cwd.as_c_str())?)
    }
}

impl Step {
    fn take(&self) -> io::Result<()> {
        match self {
            Self::Folder(at) => Ok(rustix::fs::mkdir(at.as_c_str(), Mode::from_raw_mode(0o755))?),
            Self::File(at) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                Ok(rustix::fs::open(at.as_c_str(), flags, Mode::from_raw_mode(0o644)).map(drop)?)
            }
            Self::Link { at, to } => Ok(rustix::fs::symlink(to.as_c_str(), at.as_c_str())?),
            Self::Readable { from, at } => {
                bind(from, at, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
            }
            Self::Writable { from, at } => {
                bind(from, at, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
            }
            Self::Device { from, at } => {
                bind(from, at, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
            }
            Self::Empty(at) => {
                attach(&new(c"tmpfs", &[(c"size", EMPTY_BYTES), (c"mode", c"755")], NO_PROGRAMS)?, at)
            }
            Self::Scratch(at) => {
                let options = [(c"size", SCRATCH_BYTES), (c"nr_inodes", SCRATCH_FILES), (c"mode", c"1777")];
                attach(&new(c"tmpfs", &options, NO_PROGRAMS)?, at)
            }
            Self::Processes(at) => {
                let options = [(c"hidepid", c"invisible"), (c"subset", c"pid")];
                let attributes = NO_PROGRAMS.union(MountAttrFlags::MOUNT_ATTR_RDONLY);
                attach(&new(c"proc", &options, attributes)?, at)
            }
            Self::Shut(at) => set_attributes(None, at, MOUNT_ATTR_RDONLY),
        }
    }
}

const NO_PROGRAMS: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A new file system that is mounted nowhere yet.
fn new(kind: &CStr, options: &[(&CStr, &CStr)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    Ok(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Shows what is at `from`, with every mount in it, at `at`. A link in its place is not followed.
fn bind(from: &CStr, at: &CStr, attributes: u64) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = rustix::mount::open_tree(CWD, from, flags)?;
    set_attributes(Some(&tree), c"", attributes)?;
    attach(&tree, at)
}

fn attach(tree: &OwnedFd, at: &CStr) -> io::Result<()> {
    Ok(rustix::mount::move_mount(tree, c"", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Adds `attributes` to the mount at `path`; of a tree, to every mount in it (mount_setattr(2)).
fn set_attributes(tree: Option<&OwnedFd>, path: &CStr, attributes: u64) -> io::Result<()> {
    let wanted = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let (folder, flags) = match tree {
        Some(tree) => (tree.as_raw_fd(), libc::AT_EMPTY_PATH | libc::AT_RECURSIVE),
        None => (libc::AT_FDCWD, libc::AT_SYMLINK_NOFOLLOW),
    };
    #[expect(unsafe_code, reason = "no library has this call yet")]
    // SAFETY: the kernel reads one NUL-terminated path and one structure of the size that is given, both of which
    // outlive the call, and writes nothing.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            folder,
            path.as_ptr(),
            flags,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn unshare_mounts() -> io::Result<()> {
    #[expect(unsafe_code, reason = "the call is unsafe for its other flags")]
    // SAFETY: unsafe is only the separation of file descriptors between threads, which this flag does not ask for.
    let done = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) };
    Ok(done?)
}
