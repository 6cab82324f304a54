//! Limits of memory, CPU and processes, by control groups (cgroups(7)): version 2, or 1 where that has the controller.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How long a period of the CPU limit is.
const PERIOD_US: u64 = 100_000;

/// The shortest share of a period that the kernel takes.
const QUOTA_MIN_US: u64 = 1_000;

/// The longest name of a group.
const NAME_MAX: usize = 64;

/// How the names of our slices begin and end.
const SLICE_BEGIN: &str = "palisade-";
const SLICE_END: &str = ".slice";

/// The name of a group, or of the slice that groups lie in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupName(String);

/// Says why a text is no name of a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a control group: at most 64 lowercase letters, digits, `-` or `.`, a letter first"
)]
pub struct GroupNameError(String);

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Bytes of memory, swap included where the kernel counts it.
    Memory,
    /// CPU time per time.
    Cpu,
    /// Processes and threads.
    Pids,
}

/// How much the processes of a group may use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most memory, in bytes.
    pub memory_bytes: u64,
    /// Most CPU, in thousandths of one core.
    pub cpu_millicores: u32,
    /// Most processes and threads.
    pub pids: u32,
}

/// A group with limits. Dropping this leaves it.
#[derive(Debug)]
pub struct Cgroup {
    /// Its folder for each controller; often the same one.
    folders: BTreeMap<Controller, PathBuf>,
    usage: Option<Usage>,
    missing: Vec<Missing>,
}

/// The way into a group, for a process that is about to begin.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// `cgroup.procs` of each of its folders.
    doors: Vec<CString>,
}

/// A limit that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub controller: Controller,
    /// Why.
    pub why: String,
}

/// Says why a group could not be made, read, killed or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The system refuses.
    #[error("cannot {deed} the control group `{}`: {source}", .path.display())]
    Refused {
        /// What was tried.
        deed: &'static str,
        /// Its folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Its usage is not counted here.
    #[error("no control group counts the CPU time here")]
    Uncounted,
}

/// Where the CPU time is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Usage {
    /// `cpu.stat` of version 2, in microseconds.
    Stat(PathBuf),
    /// `cpuacct.usage` of version 1, in nanoseconds.
    Account(PathBuf),
}

/// Where the control groups of this machine are mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mounts {
    v2: Option<PathBuf>,
    v1: BTreeMap<String, PathBuf>,
}

impl FromStr for GroupName {
    type Err = GroupNameError;

    fn from_str(text: &str) -> Result<Self, GroupNameError> {
        // INVARIANT: one part of a path, and no file of the kernel's own (those hold `_` or are told by their folder).
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let good = starts && text.bytes().all(plain) && text.len() <= NAME_MAX;
        if good { Ok(Self(text.to_owned())) } else { Err(GroupNameError(text.chars().take(80).collect())) }
    }
}

impl GroupName {
    /// The slice of the node with this id.
    ///
    /// # Errors
    /// When the id does not fit into a name.
    pub fn slice_of(node: &str) -> Result<Self, GroupNameError> {
        format!("{SLICE_BEGIN}{node}{SLICE_END}").parse()
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

impl Limits {
    /// What to write into which file: of version 2.
    fn v2(self, controller: Controller) -> Vec<Setting> {
        match controller {
            Controller::Memory => vec![
                Setting::must("memory.max", self.memory_bytes),
                Setting::may("memory.swap.max", 0),
                // A tenant's process dies whole or not at all.
                Setting::may("memory.oom.group", 1),
            ],
            Controller::Cpu => vec![Setting::must("cpu.max", format!("{} {PERIOD_US}", self.quota_us()))],
            Controller::Pids => vec![Setting::must("pids.max", self.pids)],
        }
    }

    /// What to write into which file: of version 1.
    fn v1(self, controller: Controller) -> Vec<Setting> {
        match controller {
            Controller::Memory => vec![
                // The sum with swap may never be the smaller of the two, so it is first lifted, whatever it was.
                Setting::may("memory.memsw.limit_in_bytes", -1),
                Setting::must("memory.limit_in_bytes", self.memory_bytes),
                Setting::may("memory.memsw.limit_in_bytes", self.memory_bytes),
            ],
            Controller::Cpu => vec![
                Setting::must("cpu.cfs_period_us", PERIOD_US),
                Setting::must("cpu.cfs_quota_us", self.quota_us()),
            ],
            Controller::Pids => vec![Setting::must("pids.max", self.pids)],
        }
    }

    /// CPU time per period.
    fn quota_us(self) -> u64 {
        (u64::from(self.cpu_millicores) * PERIOD_US / 1_000).max(QUOTA_MIN_US)
    }
}

/// A file of a group, and what it is to hold.
struct Setting {
    file: &'static str,
    value: String,
    /// Whether the limit does not hold without it.
    needed: bool,
}

impl Setting {
    fn must(file: &'static str, value: impl ToString) -> Self {
        Self { file, value: value.to_string(), needed: true }
    }

    fn may(file: &'static str, value: impl ToString) -> Self {
        Self { file, value: value.to_string(), needed: false }
    }
}

impl Cgroup {
    /// Makes the group `slice/name` with `limits`, or sets the limits of one that is there. A limit that this host
    /// cannot hold is in [`Cgroup::missing`].
    ///
    /// # Errors
    /// When a group that this host could have cannot be made.
    pub fn create(slice: &GroupName, name: &GroupName, limits: Limits) -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let mountinfo = std::fs::read_to_string(path).map_err(refused("find", path))?;
        Self::create_in(&Mounts::parse(&mountinfo), slice, name, limits)
    }

    fn create_in(
        mounts: &Mounts,
        slice: &GroupName,
        name: &GroupName,
        limits: Limits,
    ) -> Result<Self, CgroupError> {
        let mut group = Self { folders: BTreeMap::new(), usage: None, missing: Vec::new() };
        let below = |mount: &Path| mount.join(&slice.0).join(&name.0);
        for controller in Controller::ALL {
            let (folder, settings) = match mounts.of(controller) {
                Some(Home::V2(mount)) => {
                    // Each level passes its controllers on; a refusal shows as a limit that cannot be written.
                    let pass_on = format!("+{}", controller.name());
                    let _ = write(&mount.join("cgroup.subtree_control"), &pass_on);
                    make(&mount.join(&slice.0))?;
                    let _ = write(&mount.join(&slice.0).join("cgroup.subtree_control"), &pass_on);
                    (below(mount), limits.v2(controller))
                }
                Some(Home::V1(mount)) => (below(mount), limits.v1(controller)),
                None => {
                    group.lacks(controller, "no control groups of this kind are mounted");
                    continue;
                }
            };
            make(&folder)?;
            match set(&folder, &settings) {
                Ok(()) => {}
                Err(error) => group.lacks(controller, error),
            }
            group.folders.insert(controller, folder);
        }
        group.count_usage(mounts, &below)?;
        Ok(group)
    }

    /// CPU time is counted by version 2 everywhere, by version 1 in a hierarchy of its own.
    fn count_usage(&mut self, mounts: &Mounts, below: &dyn Fn(&Path) -> PathBuf) -> Result<(), CgroupError> {
        if let (Some(mount), None) = (&mounts.v2, mounts.v1.get("cpuacct")) {
            self.usage = Some(Usage::Stat(below(mount)));
        } else if let Some(mount) = mounts.v1.get("cpuacct") {
            self.usage = Some(Usage::Account(below(mount)));
        }
        match &self.usage {
            Some(Usage::Stat(folder) | Usage::Account(folder)) => make(folder),
            None => Ok(()),
        }
    }

    fn lacks(&mut self, controller: Controller, why: impl ToString) {
        self.missing.push(Missing { controller, why: why.to_string() });
    }

    /// The limits that do not hold on this host.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// The way in, for a child that is to be in the group from its first instruction on.
    #[must_use]
    pub fn entrance(&self) -> Entrance {
        let door =
            |folder: PathBuf| CString::new(folder.join("cgroup.procs").into_os_string().into_vec()).ok();
        // INVARIANT: none is left out, since no path of a mount holds a zero byte.
        Entrance { doors: self.all_folders().into_iter().filter_map(door).collect() }
    }

    /// The CPU time that its processes used, ended ones included, in microseconds.
    ///
    /// # Errors
    /// When nothing counts it, or it cannot be read.
    pub fn cpu_time_us(&self) -> Result<u64, CgroupError> {
        let usage = self.usage.as_ref().ok_or(CgroupError::Uncounted)?;
        let (file, read): (PathBuf, fn(&str) -> Option<u64>) = match usage {
            Usage::Stat(folder) => (folder.join("cpu.stat"), |text| {
                text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()
            }),
            Usage::Account(folder) => {
                (folder.join("cpuacct.usage"), |text| text.trim().parse::<u64>().ok().map(|ns| ns / 1_000))
            }
        };
        let text = std::fs::read_to_string(&file).map_err(refused("read", &file))?;
        read(&text).ok_or(CgroupError::Uncounted)
    }

    /// Kills every process in the group. Each is gone from it a moment later.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&self) -> Result<(), CgroupError> {
        for folder in self.all_folders() {
            let file = folder.join("cgroup.procs");
            let members = || match std::fs::read_to_string(&file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
                read => read.map_err(refused("read", &file)),
            };
            for line in members()?.lines() {
                let Some(pid) = line.parse().ok().and_then(Pid::from_raw) else { continue };
                let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
                // Held by its file now, the number is its own: whoever had it before is not killed in its place.
                if members()?.lines().any(|member| member == line) {
                    match rustix::process::pidfd_send_signal(&process, Signal::KILL) {
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(errno) => return Err(refused("kill a process of", &folder)(errno.into())),
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the group, which must be empty. Nothing to remove is no error.
    ///
    /// # Errors
    /// When processes are in it ([`io::ErrorKind::ResourceBusy`]), or the system refuses.
    pub fn remove(&self) -> Result<(), CgroupError> {
        self.all_folders().iter().try_for_each(|folder| remove(folder))
    }

    fn all_folders(&self) -> BTreeSet<PathBuf> {
        let mut folders: BTreeSet<PathBuf> = self.folders.values().cloned().collect();
        if let Some(Usage::Stat(folder) | Usage::Account(folder)) = &self.usage {
            folders.insert(folder.clone());
        }
        folders
    }
}

impl Entrance {
    /// Moves the calling process in. Allocates nothing.
    pub(crate) fn enter(&self) -> io::Result<()> {
        self.doors.iter().try_for_each(|door| {
            let file = rustix::fs::open(door.as_c_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            // Zero is whoever writes.
            rustix::io::write(&file, b"0").map(drop).map_err(io::Error::from)
        })
    }
}

/// Removes a slice with every group in it, all of which must be empty, and says whether there was one.
///
/// # Errors
/// When processes are in one, or the system refuses.
pub fn remove_slice(slice: &GroupName) -> Result<bool, CgroupError> {
    let path = Path::new("/proc/self/mountinfo");
    let mountinfo = std::fs::read_to_string(path).map_err(refused("find", path))?;
    let mounts = Mounts::parse(&mountinfo);
    let mut was_there = false;
    for mount in mounts.v2.iter().chain(mounts.v1.values()) {
        let folder = mount.join(&slice.0);
        // A mount of ours without the slice, or a second name of one that was done.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let groups = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        groups.map(|group| group.path()).try_for_each(|group| remove(&group))?;
        remove(&folder)?;
        was_there = true;
    }
    Ok(was_there)
}

/// Whether a process with this `/proc/PID/cgroup` is in a group of a slice of ours, by every controller.
pub(super) fn is_limited(of_process: &str) -> bool {
    let ours =
        |path: &str| path.split('/').any(|part| part.starts_with(SLICE_BEGIN) && part.ends_with(SLICE_END));
    let path_of = |controller: &str| {
        let mut lines = of_process.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let v1 = lines.clone().find(|(names, _)| names.split(',').any(|name| name == controller));
        v1.or_else(|| lines.find(|(names, _)| names.is_empty())).map(|(_, path)| path)
    };
    Controller::ALL.iter().all(|controller| path_of(controller.name()).is_some_and(ours))
}

/// Where a controller is.
#[derive(Debug, PartialEq, Eq)]
enum Home<'a> {
    V2(&'a Path),
    V1(&'a Path),
}

impl Mounts {
    /// Reads proc_pid_mountinfo(5).
    fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            let Some((place, kind)) = line.split_once(" - ") else { continue };
            let Some(mount) = place.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut kind = kind.split(' ');
            match (kind.next(), kind.nth(1)) {
                (Some("cgroup2"), _) => mounts.v2 = mounts.v2.or(Some(mount)),
                (Some("cgroup"), Some(options)) => {
                    for controller in options.split(',') {
                        mounts.v1.entry(controller.to_owned()).or_insert_with(|| mount.clone());
                    }
                }
                _ => {}
            }
        }
        mounts
    }

    /// A controller belongs to one version at a time: where version 1 has it mounted, version 2 has it not.
    fn of(&self, controller: Controller) -> Option<Home<'_>> {
        match (self.v1.get(controller.name()), &self.v2) {
            (Some(mount), _) => Some(Home::V1(mount)),
            (None, Some(mount)) => Some(Home::V2(mount)),
            (None, None) => None,
        }
    }
}

fn set(folder: &Path, settings: &[Setting]) -> io::Result<()> {
    for setting in settings {
        let written = write(&folder.join(setting.file), &setting.value);
        if setting.needed {
            written?;
        }
    }
    Ok(())
}

/// Writes a file of the kernel's, which is there or not.
fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn remove(folder: &Path) -> Result<(), CgroupError> {
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn make(folder: &Path) -> Result<(), CgroupError> {
    std::fs::create_dir_all(folder).map_err(refused("make", folder))
}

fn refused(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError::Refused { deed, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { memory_bytes: 64 << 20, cpu_millicores: 500, pids: 20 };

    #[test]
    fn the_name_of_a_group_is_one_part_of_a_path() {
        for good in ["palisade.slice", "t7", "palisade-t155"] {
            assert!(good.parse::<GroupName>().is_ok(), "{good}");
        }
        for bad in ["", "..", ".x", "a/b", "a b", "A", "cgroup_x", &"x".repeat(65)] {
            assert!(bad.parse::<GroupName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts_of_both_versions_are_found() {
        let mounts = Mounts::parse(
            "30 23 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
             31 23 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n\
             22 1 0:5 / /proc rw - proc proc rw\n",
        );
        let v1 = Path::new("/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(mounts.of(Controller::Cpu), Some(Home::V1(v1)));
        assert_eq!(mounts.v1.get("cpuacct").map(PathBuf::as_path), Some(v1));
        assert_eq!(mounts.of(Controller::Memory), Some(Home::V2(Path::new("/sys/fs/cgroup/unified"))));
        assert_eq!(Mounts::parse("").of(Controller::Pids), None);
    }

    #[test]
    fn a_process_is_limited_if_each_controller_has_it_in_a_slice_of_ours() {
        let ours = "/palisade-0190a000.slice/data-1";
        assert!(is_limited(&format!("0::{ours}\n")));
        assert!(is_limited(&format!("5:pids:{ours}\n4:cpu,cpuacct:{ours}\n3:memory:{ours}\n0::/\n")));
        assert!(!is_limited(&format!("5:pids:{ours}\n4:cpu,cpuacct:{ours}\n3:memory:/\n0::/\n")));
        for other in ["0::/", "0::/system.slice/palisade-node.service", "0::/user.slice", ""] {
            assert!(!is_limited(other), "{other}");
        }
    }

    #[test]
    fn version_2_has_one_folder_with_every_limit() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("palisade.slice/t7");
        std::fs::create_dir_all(&group).unwrap();
        for file in ["memory.max", "cpu.max", "pids.max", "cgroup.procs", "memory.swap.max"] {
            std::fs::write(group.join(file), "").unwrap();
        }
        std::fs::write(group.join("cpu.stat"), "usage_usec 1234\nuser_usec 1000\n").unwrap();
        let made = create(&Mounts { v2: Some(dir.path().to_owned()), v1: BTreeMap::new() });
        let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(made.missing(), []);
        assert_eq!((read("memory.max"), read("cpu.max")), ("67108864".to_owned(), "50000 100000".to_owned()));
        assert_eq!((read("pids.max"), read("memory.swap.max")), ("20".to_owned(), "0".to_owned()));
        made.entrance().enter().unwrap();
        assert_eq!(read("cgroup.procs"), "0");
        assert_eq!(made.cpu_time_us().unwrap(), 1_234);
    }

    #[test]
    fn what_a_host_cannot_limit_is_reported() {
        let made = create(&Mounts::default());
        let missing: Vec<Controller> = made.missing().iter().map(|missing| missing.controller).collect();
        assert_eq!(missing, Controller::ALL);
        assert!(matches!(made.cpu_time_us(), Err(CgroupError::Uncounted)));
        let dir = tempfile::tempdir().unwrap();
        let made = create(&Mounts { v2: Some(dir.path().to_owned()), v1: BTreeMap::new() });
        assert_eq!(made.missing().len(), 3);
    }

    fn create(mounts: &Mounts) -> Cgroup {
        let (slice, name) = ("palisade.slice".parse().unwrap(), "t7".parse().unwrap());
        Cgroup::create_in(mounts, &slice, &name, LIMITS).unwrap()
    }
}
