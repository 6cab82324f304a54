// Acts as somebody would who runs code of his own in the process that loads this: tries once, when the process first
// waits for something to do, what its walls are there to refuse. Says on stderr, a line each, what came of it: an error
// by its number, or 0.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *what, long result) {
    char line[512];
    int length = snprintf(line, sizeof line, "INSIDER %s %d\n", what, result < 0 ? errno : 0);
    if (write(2, line, length) != length) _exit(98);
}

static void try_call(const char *what, long number, long a, long b, long c) {
    say(what, syscall(number, a, b, c, 0, 0, 0));
}

static void try_another_process(void) {
    long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    say("process", child);
    if (child > 0) waitpid(child, 0, 0);
}

static void try_port(const char *what, int (*call)(int, const struct sockaddr *, socklen_t)) {
    // A port where nobody listens, and that nobody but the walls keeps anyone from.
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(1999), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    say(what, call(made, (struct sockaddr *)&there, sizeof there));
    close(made);
}

static void try_file(const char *what, const char *path, int flags) {
    int file = open(path, flags | O_CLOEXEC, 0600);
    say(what, file);
    if (file < 0) return;
    close(file);
    if (flags & O_CREAT) unlink(path);
}

static void say_folder(const char *what, const char *path) {
    DIR *folder = opendir(path);
    say(what, folder ? 0 : -1);
    if (!folder) return;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        char line[512];
        int length = snprintf(line, sizeof line, "INSIDER in-%s %s\n", what, entry->d_name);
        if (write(2, line, length) != length) _exit(98);
    }
    closedir(folder);
}

static void try_everything(void) {
    // Where there is no wall, this process has to go on: the program is not there.
    static const char *const program[] = {"/palisade-insider", 0};
    try_call("ptrace", SYS_ptrace, PTRACE_PEEKDATA, 0, 0);
    try_call("process_vm_readv", SYS_process_vm_readv, getppid(), 0, 0);
    try_call("mount", SYS_mount, (long)"none", (long)"/tmp", (long)"tmpfs");
    try_call("umount", SYS_umount2, (long)"/tmp", 0, 0);
    try_call("chroot", SYS_chroot, (long)"/tmp", 0, 0);
    try_call("pivot_root", SYS_pivot_root, (long)"/tmp", (long)"/tmp", 0);
    try_call("open_tree", SYS_open_tree, AT_FDCWD, (long)"/", 1);
    try_call("unshare", SYS_unshare, CLONE_NEWUSER, 0, 0);
    try_call("setns", SYS_setns, 0, 0, 0);
    try_call("bpf", SYS_bpf, 0, 0, 0);
    try_call("keyctl", SYS_keyctl, 0, -3, 0);
    try_call("init_module", SYS_init_module, 0, 0, (long)"");
    try_call("perf_event_open", SYS_perf_event_open, 0, 0, 0);
    try_call("io_uring_setup", SYS_io_uring_setup, 1, 0, 0);
    try_call("userfaultfd", SYS_userfaultfd, 0, 0, 0);
    try_call("setuid", SYS_setuid, 0, 0, 0);
    try_call("shmget", SYS_shmget, 0x7e57, 0, 0);
    try_call("personality", SYS_personality, 0xffffffff, 0, 0);
    try_call("netlink", SYS_socket, AF_NETLINK, SOCK_RAW, 0);
    try_call("packet", SYS_socket, AF_PACKET, SOCK_DGRAM, 0);
    try_call("raw", SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP);
    try_call("vsock", SYS_socket, AF_VSOCK, SOCK_STREAM, 0);
    try_another_process();
    try_call("program", SYS_execve, (long)program[0], (long)program, 0);
    try_port("connect", connect);
    try_port("bind", bind);
    try_file("root-key", STATE "/control/root.key", O_RDONLY);
    try_file("node-memory", STATE "/node/node.json", O_RDONLY);
    try_file("operator-token", STATE "/operator.token", O_RDONLY);
    try_file("open-secret", SECRET, O_RDONLY);
    try_file("other-process", "/proc/1/status", O_RDONLY);
    try_file("kernel-switch", "/proc/sys/kernel/hostname", O_RDONLY);
    try_file("networks", "/run/netns", O_RDONLY | O_DIRECTORY);
    try_file("groups", "/sys/fs/cgroup", O_RDONLY | O_DIRECTORY);
    try_file("new-in-etc", "/etc/palisade-insider", O_WRONLY | O_CREAT);
    try_file("new-in-root", "/palisade-insider", O_WRONLY | O_CREAT);
    try_file("new-in-state", STATE "/palisade-insider", O_WRONLY | O_CREAT);
    try_file("new-in-tmp", "/tmp/palisade-insider", O_WRONLY | O_CREAT);
    say_folder("state", STATE);
    say("end", 0);
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout) {
    static atomic_flag began = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&began)) try_everything();
    int (*real)(int, struct epoll_event *, int, int) = dlsym(RTLD_NEXT, "epoll_wait");
    return real(epoll, events, count, timeout);
}
