//! Control groups: limits that the kernel holds.

use host::confine::cgroup::{Cgroup, Controller, GroupName, Limits};
use host::process::{Running, Spawn};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LIMITS: Limits = Limits { memory_bytes: 64 << 20, cpu_millicores: 500, pids: 8 };

#[tokio::test]
async fn a_group_counts_the_cpu_time_of_its_processes() {
    let Some(group) = group(Controller::Cpu) else { return };
    let before = group.0.as_ref().unwrap().cpu_time_us().unwrap();
    group.run("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").await;
    let used = group.0.as_ref().unwrap().cpu_time_us().unwrap() - before;
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
async fn a_group_with_a_process_in_it_stays_and_goes_after_it() {
    let Some(mut group) = group(Controller::Pids) else { return };
    let mut running = start("read x").await;
    group.0.as_ref().unwrap().add(running.pid()).unwrap();
    let name = group.1.clone();
    let busy = group.0.take().unwrap().remove().unwrap_err();
    assert!(busy.to_string().contains("busy"), "{busy}");
    running.terminate(0).await.unwrap();
    create(&name).unwrap().remove().unwrap();
}

/// A group that is removed with its test.
struct Group(Option<Cgroup>, GroupName);

impl Group {
    /// Runs a shell in the group from its first command on, and gives what it said.
    async fn run(&self, script: &str) -> String {
        let mut running = start(&format!("read x; {script}")).await;
        self.0.as_ref().unwrap().add(running.pid()).unwrap();
        running.take_stdin().unwrap().write_all(b"go\n").await.unwrap();
        let mut said = String::new();
        running.take_stdout().unwrap().read_to_string(&mut said).await.unwrap();
        running.wait().await.unwrap();
        said
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            // A failure here must not hide the test's own.
            let _ = group.remove();
        }
    }
}

fn group(needed: Controller) -> Option<Group> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name: GroupName = format!("trial-{}-{count}", std::process::id()).parse().unwrap();
    let created = host::process::is_root().then(|| create(&name));
    let missing = match created {
        None => "this needs root".to_owned(),
        Some(Err(error)) => error.to_string(),
        Some(Ok(group)) => match group.missing().iter().find(|missing| missing.controller == needed) {
            None => return Some(Group(Some(group), name)),
            Some(missing) => {
                let why = missing.why.clone();
                let _ = group.remove();
                why
            }
        },
    };
    eprintln!("SKIPPED: {missing}");
    None
}

fn create(name: &GroupName) -> Result<Cgroup, host::confine::cgroup::CgroupError> {
    Cgroup::create(&"palisade-trial.slice".parse().unwrap(), name, LIMITS)
}

async fn start(script: &str) -> Running {
    let mut spawn = Spawn::new("/bin/sh".into(), "/".into());
    spawn.args = vec!["-c".into(), script.into()];
    spawn.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
    (spawn.stdin_pipe, spawn.stdout_pipe) = (true, true);
    spawn.spawn().await.unwrap()
}
