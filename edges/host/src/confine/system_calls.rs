//! System calls: all refused but those of a server that starts no program (seccomp(2)).

use super::{ConfineError, Wall, alone};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::io;

/// What the wall is called.
const WALL: &str = "system calls";

/// Calls of a server on any architecture. Whatever is not here (programs, mounts, namespaces, modules, tracing, keys,
/// other users, the clock's hands, BPF, io_uring, raw devices) is refused with EPERM.
const CALLS: &[libc::c_long] = &[
    // Files and folders.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
    // Terminals and sizes of pipes: requests are told apart by the file, and devices are not opened.
    libc::SYS_ioctl,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munmap,
    libc::SYS_memfd_create,
    libc::SYS_membarrier,
    // Threads (no processes: `clone` is below), and waiting.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Time, read and waited for.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getitimer,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Signals; `kill` reaches only processes of the same user.
    libc::SYS_kill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    // Who and where it is.
    libc::SYS_capget,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_setpriority,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Sockets that are open.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendfile,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
    libc::SYS_splice,
    libc::SYS_tee,
    // More walls.
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_seccomp,
    libc::SYS_capset,
];

/// Older names of the above, which newer architectures do without.
#[cfg(target_arch = "x86_64")]
const OLDER_CALLS: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_inotify_init,
    libc::SYS_lchown,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_signalfd,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
    libc::SYS_utime,
    libc::SYS_utimes,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_CALLS: &[libc::c_long] = &[];

/// The families of sockets that are opened: Unix, IPv4, IPv6. Not packets, not netlink, not the host's (vsock).
const FAMILIES: [libc::c_int; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// The kinds of sockets that are opened, without the flags in the higher bits: streams and datagrams. Not raw ones.
const KINDS: [libc::c_int; 2] = [libc::SOCK_STREAM, libc::SOCK_DGRAM];
const KIND_MASK: u64 = 0xf;

/// What `clone` makes beside a thread: namespaces, and files that watch what was made.
const NEW_NAMESPACES: u64 = 0x7e02_0080;

/// From now on this process can do what a server does that starts no program, and nothing else: other system calls
/// answer EPERM.
///
/// # Errors
/// When other threads run already, or the kernel has filters and refuses.
pub fn only_calls_of_a_server() -> Result<Wall, ConfineError> {
    alone(WALL)?;
    only_calls_of_a_server_on_thread()
}

fn only_calls_of_a_server_on_thread() -> Result<Wall, ConfineError> {
    let (Some(first), Some(second)) = (no_clone3(), only_known()) else {
        return Ok(Wall::Absent { why: "no filter is known for this architecture".to_owned() });
    };
    for program in [first, second] {
        match seccompiler::apply_filter(&program) {
            Ok(()) => {}
            Err(seccompiler::Error::Seccomp(error)) if error.raw_os_error() == Some(libc::EINVAL) => {
                return Ok(Wall::Absent { why: "this kernel has no filters of system calls".to_owned() });
            }
            Err(error) => {
                return Err(ConfineError::Refused { wall: WALL, source: io::Error::other(error) });
            }
        }
    }
    Ok(Wall::Raised)
}

/// `clone3` hides its flags behind a pointer, where no filter sees them: told that there is none, the C library takes
/// `clone`.
fn no_clone3() -> Option<BpfProgram> {
    let absent = SeccompAction::Errno(u32::try_from(libc::ENOSYS).ok()?);
    compile(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), SeccompAction::Allow, absent)
}

fn only_known() -> Option<BpfProgram> {
    let known = CALLS.iter().chain(OLDER_CALLS);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = known.map(|call| (*call, Vec::new())).collect();
    let thread = u64::try_from(libc::CLONE_THREAD).ok()?;
    let thread =
        vec![condition(0, Is::MaskedEq(NEW_NAMESPACES), 0)?, condition(0, Is::MaskedEq(thread), thread)?];
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(thread).ok()?]);
    // Decided by the filter before.
    rules.insert(libc::SYS_clone3, Vec::new());
    let mut sockets = Vec::new();
    for family in FAMILIES {
        for kind in KINDS {
            let conditions = vec![
                condition(0, Is::Eq, u64::try_from(family).ok()?)?,
                condition(1, Is::MaskedEq(KIND_MASK), u64::try_from(kind).ok()?)?,
            ];
            sockets.push(SeccompRule::new(conditions).ok()?);
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    compile(rules, SeccompAction::Errno(u32::try_from(libc::EPERM).ok()?), SeccompAction::Allow)
}

fn condition(argument: u8, is: Is, value: u64) -> Option<SeccompCondition> {
    SeccompCondition::new(argument, Length::Dword, is, value).ok()
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    others: SeccompAction,
    these: SeccompAction,
) -> Option<BpfProgram> {
    let architecture = std::env::consts::ARCH.try_into().ok()?;
    SeccompFilter::new(rules, others, these, architecture).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType};
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn a_server_works_behind_the_wall() {
        behind(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async { tokio::fs::read("/proc/self/stat").await.unwrap() });
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let mut sent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            std::thread::spawn(move || sent.write_all(b"ok").unwrap());
            let mut got = String::new();
            listener.accept().unwrap().0.read_to_string(&mut got).unwrap();
            assert_eq!(got, "ok");
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("a"), b"x").unwrap();
            std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
            crate::entropy::bytes::<32>().unwrap();
        });
    }

    #[test]
    fn no_program_namespace_mount_or_strange_socket_comes_out_of_it() {
        behind(|| {
            let program = std::process::Command::new("/bin/true").spawn().unwrap_err();
            assert_eq!(program.raw_os_error(), Some(libc::EPERM));
            assert_eq!(crate::network::unshare_network().unwrap_err().raw_os_error(), Some(libc::EPERM));
            assert_eq!(rustix::mount::mount_bind("/tmp", "/tmp").unwrap_err(), Errno::PERM);
            assert_eq!(rustix::process::chroot("/").unwrap_err(), Errno::PERM);
            for (family, kind) in [
                (AddressFamily::NETLINK, SocketType::RAW),
                (AddressFamily::NETLINK, SocketType::DGRAM),
                (AddressFamily::PACKET, SocketType::DGRAM),
                (AddressFamily::INET, SocketType::RAW),
                (AddressFamily::VSOCK, SocketType::STREAM),
            ] {
                let refused = rustix::net::socket(family, kind, None).unwrap_err();
                assert_eq!(refused, Errno::PERM, "{family:?} {kind:?}");
            }
        });
    }

    /// Runs `work` on a thread behind the wall.
    fn behind(work: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(|| match only_calls_of_a_server_on_thread().unwrap() {
            Wall::Raised => work(),
            Wall::Absent { why } => eprintln!("SKIPPED: {why}"),
        });
        thread.join().unwrap();
    }
}
