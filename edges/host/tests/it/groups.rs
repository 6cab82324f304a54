//! Control groups: limits that the kernel holds.

use crate::site::skipped;
use host::confine::cgroup::{Cgroup, Controller, GroupName, Limits, remove_slice};
use host::process::{Running, Spawn};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

const LIMITS: Limits = Limits { memory_bytes: 64 << 20, cpu_millicores: 500, pids: 8 };

#[tokio::test]
async fn a_group_counts_the_cpu_time_of_its_processes() {
    let Some(group) = group(Controller::Cpu) else { return };
    let before = group.group.cpu_time_us().unwrap();
    group.run("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").await;
    let used = group.group.cpu_time_us().unwrap() - before;
    assert!(used > 1_000, "{used}");
}

#[tokio::test]
async fn a_group_has_no_more_processes_than_its_limit() {
    let Some(group) = group(Controller::Pids) else { return };
    let said = group.run("for i in 1 2 3; do sleep 0 & done; wait; echo all").await;
    assert!(said.contains("all"), "{said}");
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done 2>/dev/null; wait; echo never";
    let said = group.run(script).await;
    assert!(!said.contains("never"), "{said}");
}

#[tokio::test]
async fn a_group_has_no_more_memory_than_its_limit() {
    let Some(group) = group(Controller::Memory) else { return };
    let fill = |mib: u32| format!("x=$(head -c {mib}M /dev/zero | tr '\\0' x); echo ${{#x}}");
    assert!(group.run(&fill(4)).await.contains("4194304"));
    assert!(!group.run(&fill(200)).await.contains("209715200"));
}

#[tokio::test]
async fn a_group_with_a_process_in_it_stays_and_goes_once_that_is_killed() {
    let Some(group) = group(Controller::Pids) else { return };
    let mut running = group.start("read x").await;
    let busy = group.group.remove().unwrap_err();
    assert!(busy.to_string().contains("busy"), "{busy}");
    group.group.kill().unwrap();
    running.wait().await.unwrap();
    group.group.remove().unwrap();
    group.group.kill().unwrap();
    group.group.remove().unwrap();
}

#[tokio::test]
async fn a_process_is_in_its_group_from_its_first_instruction_on() {
    let Some(group) = group(Controller::Pids) else { return };
    let said = group.run("cat /proc/self/cgroup").await;
    let of_pids = |line: &&str| line.contains(":pids:") || line.starts_with("0::");
    let within = format!("/{}/t1", group.slice);
    assert!(said.lines().filter(of_pids).any(|line| line.ends_with(&within)), "{said}");
}

/// A group in a slice of its own, both removed with their test.
struct Group {
    group: Cgroup,
    slice: GroupName,
}

impl Group {
    /// Runs a shell in the group and gives what it said.
    async fn run(&self, script: &str) -> String {
        let mut running = self.start(script).await;
        let mut said = String::new();
        running.take_stdout().unwrap().read_to_string(&mut said).await.unwrap();
        running.wait().await.unwrap();
        said
    }

    async fn start(&self, script: &str) -> Running {
        let mut spawn = Spawn::new("/bin/sh".into(), "/".into());
        spawn.args = vec!["-c".into(), script.into()];
        spawn.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        (spawn.stdin_pipe, spawn.stdout_pipe) = (true, true);
        (spawn.uid, spawn.gid, spawn.group) = (Some(4_242), Some(4_242), Some(self.group.entrance()));
        spawn.spawn().await.unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What the test started may take a moment to end. A failure here must not hide the test's own.
        for _ in 0..100 {
            if remove_slice(&self.slice).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn group(needed: Controller) -> Option<Group> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if !host::process::is_root() {
        return skipped("this needs root");
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let slice: GroupName = format!("palisade-trial-{}-{count}.slice", std::process::id()).parse().unwrap();
    let group = match Cgroup::create(&slice, &"t1".parse().unwrap(), LIMITS) {
        Ok(group) => Group { group, slice },
        Err(error) => return skipped(&error.to_string()),
    };
    let missing = group.group.missing().iter().find(|missing| missing.controller == needed);
    match missing.map(|missing| missing.why.clone()) {
        None => Some(group),
        Some(why) => skipped(&why),
    }
}
