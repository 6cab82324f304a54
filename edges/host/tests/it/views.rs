//! What a child sees of this machine's files, looked at from inside.

use crate::site::skipped;
use host::confine::Wall;
use host::process::{Spawn, SpawnError, View};
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

/// Who looks.
const UID: u32 = 4_242;

#[tokio::test]
async fn only_its_own_folder_and_what_it_was_shown_is_there_whoever_may_read_the_rest() {
    let Some(host) = Host::new() else { return };
    for hidden in ["state", "state/other/secret", "state/node/secret", "state/root.key", "keys/root.key"] {
        let path = host.path(hidden);
        assert!(path.exists());
        let said = host.says(&format!("cat '{0}/secret' '{0}'; ls '{0}'", path.display())).await;
        assert!(!said.contains("SECRET") && !said.contains("other"), "{hidden}: {said}");
    }
    let (own, ca) = (host.path("state/own"), host.path("state/ca.pem"));
    let said =
        host.says(&format!("cat '{}' mine; ls '{}'", ca.display(), host.path("state").display())).await;
    assert_eq!(said, "CA\nMINE\nca.pem\nown\n", "{}", own.display());
}

#[tokio::test]
async fn nothing_but_its_own_folder_and_its_own_tmp_can_be_written() {
    let Some(host) = Host::new() else { return };
    // The way out and in again, options, and where it is.
    let said = host.says("cut -d' ' -f5,6 /proc/self/mountinfo").await;
    let mut open: Vec<&str> = said
        .lines()
        .filter(|mount| !mount.split(' ').nth(1).unwrap().split(',').any(|option| option == "ro"))
        .map(|mount| mount.split(' ').next().unwrap())
        .collect();
    open.sort_unstable();
    let own = host.path("state/own");
    assert_eq!(open, ["/tmp", own.to_str().unwrap()], "{said}");
    for mount in said.lines().filter(|mount| open.contains(&mount.split(' ').next().unwrap())) {
        assert!(mount.contains("nosuid,nodev,noexec"), "{mount}");
    }
    let tried = "for at in / /run /dev /etc /usr /proc ..; do true > \"$at/x\" && echo \"wrote $at\"; done; \
                 true > x && true > /tmp/x && echo mine";
    assert_eq!(host.says(tried).await, "mine\n");
    assert!(own.join("x").exists());
}

#[tokio::test]
async fn what_it_writes_below_tmp_is_its_own_and_little() {
    let Some(host) = Host::new() else { return };
    let said = host.says("ls -A /tmp | grep -v \"$(echo $TOP)\"; head -c 32M /dev/zero > /tmp/full").await;
    assert!(!said.contains("full"), "{said}");
    assert!(!Path::new("/tmp/full").exists());
    let runs = "cp /bin/true /tmp/program; cp /bin/true program; /tmp/program || ./program || echo neither";
    assert_eq!(host.says(runs).await, "neither\n");
}

#[tokio::test]
async fn it_sees_no_other_users_processes_and_no_switches_of_the_kernel() {
    let Some(host) = Host::new() else { return };
    let said = host.says("ls /proc; echo; cat /proc/1/cmdline /proc/sys/kernel/hostname; ls -A /sys").await;
    let (names, rest) = said.split_once("\n\n").unwrap();
    let others: Vec<&str> =
        names.lines().filter(|name| !name.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert_eq!(others, ["self", "thread-self"], "{said}");
    // The shell and `ls`.
    assert!((1..=2).contains(&(names.lines().count() - 2)), "{said}");
    assert_eq!(rest, "");
}

#[tokio::test]
async fn no_network_of_others_can_be_named() {
    let Some(host) = Host::new() else { return };
    assert_eq!(host.says("ls -A /run/netns; ls -A /run | grep -v -e systemd -e resolv -e Network").await, "");
}

#[tokio::test]
async fn what_programs_need_works() {
    let Some(host) = Host::new() else { return };
    let said = host
        .says("cat /etc/nsswitch.conf > /dev/null && head -c 4 /dev/urandom | wc -c && cat /dev/null && pwd")
        .await;
    assert_eq!(said, format!("4\n{}\n", host.path("state/own").display()));
}

#[tokio::test]
async fn there_is_no_way_out_by_its_working_folder_or_an_open_one() {
    let Some(host) = Host::new() else { return };
    let said = host.says("cd -P ../../../../../../../..; pwd -P; ls -A -d home srv root mnt keys").await;
    assert_eq!(said, "/\n");
    let open = std::fs::File::open(host.path("keys")).unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let said = host.says("ls /proc/self/fd/").await;
    assert!(said.lines().all(|file| file.parse::<u32>().unwrap() <= 3), "{said}");
}

#[tokio::test]
async fn the_deepest_folder_that_names_a_path_decides() {
    let Some(host) = Host::new() else { return };
    let mut view = host.view();
    view.readable.extend([host.path("keys"), host.path("keys/inner/shown")]);
    view.hidden.push(host.path("keys/inner"));
    let keys = host.path("keys").display().to_string();
    let said = host.seen(view, &format!("cd '{keys}'; ls . inner inner/shown; cat inner/shown/secret")).await;
    assert_eq!(said, ".:\ninner\nroot.key\n\ninner:\nshown\n\ninner/shown:\nsecret\nSECRET\n");
}

#[tokio::test]
async fn links_on_the_way_lead_where_they_lead_outside() {
    let Some(host) = Host::new() else { return };
    symlink("state/own", host.path("alias")).unwrap();
    symlink(host.path("alias"), host.path("again")).unwrap();
    let view = View { writable: vec![host.path("again")], ..View::of_system() };
    let again = host.path("again").display().to_string();
    let mut spawn = host.spawn(view, &format!("cat '{again}/mine'; ls -l '{again}'; pwd"));
    spawn.cwd = host.path("again");
    let said = said(spawn).await;
    assert!(said.starts_with("MINE\n") && said.contains("again -> "), "{said}");
    assert!(said.ends_with(&format!("{}\n", host.path("state/own").display())), "{said}");
}

#[tokio::test]
async fn a_view_that_cannot_be_given_is_said_and_nothing_starts() {
    let Some(host) = Host::new() else { return };
    let mut view = host.view();
    view.writable.push(host.path("absent"));
    let refused = host.spawn(view, "true").spawn().await.unwrap_err();
    assert!(matches!(refused, SpawnError::View { .. }), "{refused}");
    let mut spawn = host.spawn(View::of_system(), "true");
    spawn.cwd = host.path("keys");
    let refused = spawn.spawn().await.unwrap_err();
    assert!(refused.to_string().contains("(its view of the files)"), "{refused}");
}

#[test]
fn a_probe_says_that_views_can_be_given_and_leaves_this_process_where_it_is() {
    if !host::process::is_root() {
        assert!(matches!(View::probe(), Wall::Absent { .. }));
        return;
    }
    let here = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = here();
    assert_eq!(View::probe(), Wall::Raised);
    assert_eq!(here(), before);
}

/// Some folders of a machine, every one of which anybody may read.
struct Host {
    dir: TempDir,
}

impl Host {
    fn new() -> Option<Self> {
        if !host::process::is_root() {
            return skipped("this needs root");
        }
        if let Wall::Absent { why } = View::probe() {
            return skipped(&why);
        }
        // Not below /tmp, which the child has its own of.
        let host = Self { dir: tempfile::tempdir_in("/var/tmp").unwrap() };
        for folder in ["", "state", "state/own", "state/other", "state/node", "keys", "keys/inner/shown"] {
            std::fs::create_dir_all(host.path(folder)).unwrap();
        }
        for (file, text) in [
            ("state/own/mine", "MINE\n"),
            ("state/other/secret", "SECRET\n"),
            ("state/node/secret", "SECRET\n"),
            ("state/root.key", "SECRET\n"),
            ("state/ca.pem", "CA\n"),
            ("keys/root.key", "SECRET\n"),
            ("keys/inner/secret", "SECRET\n"),
            ("keys/inner/shown/secret", "SECRET\n"),
        ] {
            std::fs::write(host.path(file), text).unwrap();
        }
        for folder in [".", "state", "state/own", "state/other", "state/node", "keys", "keys/inner"] {
            std::fs::set_permissions(host.path(folder), Permissions::from_mode(0o755)).unwrap();
        }
        chown(host.path("state/own"), Some(UID), Some(UID)).unwrap();
        Some(host)
    }

    fn path(&self, rest: &str) -> PathBuf {
        self.dir.path().join(rest)
    }

    fn view(&self) -> View {
        let mut view = View::of_system();
        view.readable.push(self.path("state/ca.pem"));
        view.writable.push(self.path("state/own"));
        view.hidden.push(self.path("state"));
        view
    }

    async fn says(&self, script: &str) -> String {
        self.seen(self.view(), script).await
    }

    async fn seen(&self, view: View, script: &str) -> String {
        said(self.spawn(view, script)).await
    }

    fn spawn(&self, view: View, script: &str) -> Spawn {
        let mut spawn = Spawn::new("/bin/sh".into(), self.path("state/own"));
        spawn.args = vec!["-c".into(), script.into()];
        spawn.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        (spawn.uid, spawn.gid, spawn.view) = (Some(UID), Some(UID), Some(view));
        (spawn.stdout_pipe, spawn.stdin_pipe) = (true, true);
        spawn
    }
}

async fn said(spawn: Spawn) -> String {
    let mut running = spawn.spawn().await.unwrap();
    let mut text = String::new();
    running.take_stdout().unwrap().read_to_string(&mut text).await.unwrap();
    running.wait().await.unwrap();
    text
}
