//! Namespaces: only ours are made, found and removed, and whoever runs inside one stays there.

use crate::site::{Site, inside, on_stack, tag};
use host::network::{LinkName, Namespace, NamespaceError, Stack};
use std::path::{Path, PathBuf};

#[test]
fn a_namespace_is_made_found_and_removed() {
    let Some(mut site) = Site::new() else { return };
    let name = site.name();
    let made = Namespace::create(&name, &tag()).unwrap();
    let found = Namespace::open(&name).unwrap();
    assert!(made.is_same_as(&found).unwrap());
    assert!(!made.is_same_as(&Namespace::own().unwrap()).unwrap());
    let listed = Namespace::list().unwrap().into_iter().find(|owned| owned.name == name).unwrap();
    assert_eq!(listed.tag, Some(tag()));
    let links = on_stack(&made, |stack| stack.links().unwrap());
    assert!(links.iter().any(|link| link.name == "lo") && !links.iter().any(|link| link.up), "{links:?}");
    Namespace::remove(&name).unwrap();
    assert!(matches!(Namespace::open(&name), Err(NamespaceError::Absent(_))));
    assert!(!Namespace::list().unwrap().iter().any(|owned| owned.name == name));
    Namespace::remove(&name).unwrap();
}

#[test]
fn a_name_is_given_once_and_taken_over_after_a_crash() {
    let Some(mut site) = Site::new() else { return };
    let name = site.name();
    // What a crash between the name and the namespace leaves.
    std::fs::write(path(name.as_ref()), "").unwrap();
    assert!(matches!(Namespace::open(&name), Err(NamespaceError::Absent(_))));
    let half = Namespace::list().unwrap().into_iter().find(|owned| owned.name == name).unwrap();
    assert_eq!(half.tag, None);
    Namespace::create(&name, &tag()).unwrap();
    assert!(matches!(Namespace::create(&name, &tag()), Err(NamespaceError::Exists(_))));
}

#[test]
fn a_namespace_without_our_tag_is_never_removed() {
    let Some(mut site) = Site::new() else { return };
    // The host's own namespace under a name of ours: the worst there is to remove.
    let name = site.name();
    let path = path(name.as_ref());
    std::fs::write(&path, "").unwrap();
    rustix::mount::mount_bind("/proc/self/ns/net", &path).unwrap();
    let refused = Namespace::remove(&name);
    let listed = Namespace::list().unwrap().iter().any(|owned| owned.name == name);
    let alive = Namespace::open(&name).is_ok();
    rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(matches!(refused, Err(NamespaceError::Foreign(_))), "{refused:?}");
    assert!(alive && !listed);
}

#[tokio::test]
async fn work_inside_sees_only_that_namespace_and_its_caller_stays_outside() {
    let Some(mut site) = Site::new() else { return };
    let namespace = site.namespace();
    let before = Namespace::own().unwrap();
    let here = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let outside = here();
    let there = namespace.enter(move |_| here()).await.unwrap();
    assert_eq!(there, inside(&namespace, |_| here()));
    assert_ne!(there, outside);
    assert_eq!(here(), outside);
    assert!(before.is_same_as(&Namespace::own().unwrap()).unwrap());
}

#[tokio::test]
async fn work_that_panics_inside_is_an_error() {
    let Some(mut site) = Site::new() else { return };
    let namespace = site.namespace();
    let waited = namespace.enter(|_| assert!(std::hint::black_box(false))).await;
    assert!(matches!(waited, Err(NamespaceError::Panicked(_))));
    let blocked = namespace.enter_blocking(|_| assert!(std::hint::black_box(false)));
    assert!(matches!(blocked, Err(NamespaceError::Panicked(_))));
    // The next one is none the worse.
    inside(&namespace, |inside| Stack::open(inside).unwrap().link(&LinkName::loopback()).unwrap());
}

fn path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}
