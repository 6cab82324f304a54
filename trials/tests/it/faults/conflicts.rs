//! What is not ours alone: a state directory in use, a port that is taken, a folder that cannot be written.

use super::mounts::ReadOnly;
use crate::shared::site;
use std::net::TcpListener;
use trials::{Options, Site};

#[tokio::test]
async fn a_second_up_on_one_state_directory_is_refused_and_the_first_one_goes_on() {
    let site = site().await;
    let before = site.processes();
    let (exit, said) = site.up_fails().await.unwrap();
    assert_eq!(exit, 1, "{said}");
    let first = before.iter().find(|process| process.name == "palisade").unwrap();
    for expected in ["error[state_in_use]", &format!("pid {}", first.pid), "--state-dir DIR"] {
        assert!(said.contains(expected), "no `{expected}` in:\n{said}");
    }
    assert_eq!(site.processes(), before, "the first one's processes are what they were");
    assert!(site.folder().join("ready.json").exists(), "the first one is as ready as before");
    site.run(&["tenant", "list"]).unwrap();
}

#[tokio::test]
async fn a_port_that_was_asked_for_and_is_taken_is_named_with_the_way_out() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    for (flag, value, way_out) in [
        ("--control-plane-addr", format!("127.0.0.1:{port}"), "--control-plane-addr 127.0.0.1:0"),
        ("--data-plane-port", port.to_string(), "--data-plane-port 0"),
    ] {
        let arguments = vec![flag.to_owned(), value];
        let site = Site::prepare(Options { any_port: false, arguments, ..Options::default() }).unwrap();
        let (exit, said) = site.up_fails().await.unwrap();
        assert_eq!(exit, 1, "{said}");
        for expected in ["error[port_taken]", &format!("127.0.0.1:{port}"), "next: stop", way_out] {
            assert!(said.contains(expected), "no `{expected}` in:\n{said}");
        }
        assert_eq!(site.processes(), []);
        assert!(!site.state().join("control").exists(), "nothing was made for a site that cannot start");
    }
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_is_named_and_works_once_it_can_be() {
    let mut site = Site::up(Options { demo: false, ..Options::default() }).await.unwrap();
    site.stop().await.unwrap();
    let Some(read_only) = ReadOnly::make(&site.state()) else { return };
    let (exit, said) = site.up_fails().await.unwrap();
    // What the system refuses for want of a permission has an exit code of its own.
    assert!([1, 4].contains(&exit), "{exit}: {said}");
    let state = site.state().display().to_string();
    for expected in ["error[file]", &state, "next: check the disk's space", "--state-dir DIR"] {
        assert!(said.contains(expected), "no `{expected}` in:\n{said}");
    }
    assert_eq!(site.processes(), []);
    drop(read_only);
    site.again().await.unwrap();
}
