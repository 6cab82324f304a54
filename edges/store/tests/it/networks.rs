//! Hosts' networks: reported, wanted, probed, counted.

use crate::seed::{node, number};
use crate::world::{NOW, World, of, platform};
use store::{
    DesiredNetworksRow, Forwarded, HostNetworksRow, KernelCheckRow, NumberState, Page, ProbeRow, StoreError,
    WriteError,
};
use terms::{Digest, NodeId};

contracts! {
    a_report_replaces_the_one_before,
    a_version_never_goes_back,
    only_forwarding_hosts_forward_and_only_what_is_held,
    a_probe_is_answered_once_and_forgotten_with_the_next_question,
    what_kernels_counted_is_kept_for_each_host,
}

pub(crate) fn host(node: NodeId) -> HostNetworksRow {
    HostNetworksRow {
        node,
        driver: "linux".to_owned(),
        place: "elsewhere".to_owned(),
        address: Some([192, 0, 2, 8].into()),
        routes: "[]".to_owned(),
        applied: 7,
        counted_at: Some(NOW),
        reported_at: NOW,
        drift: "{}".to_owned(),
        missing: "[]".to_owned(),
    }
}

pub(crate) fn desired(node: NodeId, version: u64) -> DesiredNetworksRow {
    DesiredNetworksRow {
        node,
        version,
        content_digest: Digest::sha256(&version.to_be_bytes()),
        kid: "k".repeat(43).parse().unwrap(),
        envelope: version.to_be_bytes().to_vec(),
        issued_at: NOW,
    }
}

async fn a_report_replaces_the_one_before(world: World) {
    let ids = [enrolled(&world).await, enrolled(&world).await];
    let later = HostNetworksRow {
        driver: "loopback".to_owned(),
        place: "here".to_owned(),
        address: None,
        applied: 8,
        counted_at: None,
        reported_at: NOW.plus_ms(1),
        ..host(ids[0])
    };
    for row in [host(ids[0]), host(ids[1]), later.clone()] {
        write!(world, |tx| tx.networks().put_host(&platform(), &row).await).unwrap();
    }
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(reader.networks().host(&platform(), ids[0]).await, Ok(Some(later.clone())));
    assert_eq!(reader.networks().host(&platform(), id!(NodeId)).await, Ok(None));
    let (first, next) = reader.networks().list_hosts(&platform(), &Page::first(1)).await.unwrap();
    let (rest, end) =
        reader.networks().list_hosts(&platform(), &Page { after: next, limit: 1 }).await.unwrap();
    assert_eq!((first, rest, end), (vec![later], vec![host(ids[1])], None));
    let beyond = HostNetworksRow { applied: u64::MAX, ..host(ids[0]) };
    let refused = write!(world, |tx| tx.networks().put_host(&platform(), &beyond).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::Range("applied"))));
}

async fn a_version_never_goes_back(world: World) {
    let id = enrolled(&world).await;
    for (version, kept) in [(5, true), (5, false), (4, false), (6, true)] {
        let row = desired(id, version);
        let put = write!(world, |tx| tx.networks().put_desired(&platform(), &row).await);
        let expected = if kept { Ok(()) } else { Err(WriteError::Work(StoreError::Conflict("version"))) };
        assert_eq!(put, expected, "{version}");
    }
    let kept = world.store.read().await.unwrap().networks().desired(&platform(), id).await;
    assert_eq!(kept, Ok(Some(desired(id, 6))));
}

async fn only_forwarding_hosts_forward_and_only_what_is_held(world: World) {
    let tenant = world.tenant("demo").await;
    let [forwards, asks, here, loopback, nowhere] = [
        enrolled(&world).await,
        enrolled(&world).await,
        enrolled(&world).await,
        enrolled(&world).await,
        enrolled(&world).await,
    ];
    let rows = [
        host(forwards),
        host(asks),
        HostNetworksRow { place: "here".to_owned(), ..host(here) },
        HostNetworksRow { driver: "loopback".to_owned(), ..host(loopback) },
        HostNetworksRow { address: None, ..host(nowhere) },
    ];
    write!(world, |tx| {
        for row in &rows {
            tx.networks().put_host(&platform(), row).await?;
            tx.placements().put_number(&platform(), &number(row.node, 3, tenant)).await?;
            let mut left = number(row.node, 4, tenant);
            left.state = NumberState::Leaving;
            tx.placements().put_number(&platform(), &left).await?;
        }
        Ok::<_, StoreError>(())
    })
    .unwrap();
    let mut reader = world.store.read().await.unwrap();
    let forwarded = reader.networks().forwarded(&platform(), asks, 9).await.unwrap();
    assert_eq!(forwarded, [Forwarded { address: [192, 0, 2, 8].into(), number: 3 }]);
    let forwarded = reader.networks().forwarded(&platform(), here, 1).await.unwrap();
    assert_eq!(forwarded.len(), 1, "no more than was asked for");
}

async fn a_probe_is_answered_once_and_forgotten_with_the_next_question(world: World) {
    let id = enrolled(&world).await;
    let (asked, again) = (NOW, NOW.plus_ms(1));
    let answer = async |at, text: &'static str| {
        write!(world, |tx| tx.networks().answer_probe(&platform(), id, at, text.to_owned()).await).unwrap()
    };
    assert!(!answer(asked, "unasked").await);
    write!(world, |tx| tx.networks().ask_probe(&platform(), id, asked).await).unwrap();
    assert_eq!(
        [answer(again, "other").await, answer(asked, "one").await, answer(asked, "two").await],
        [false, true, false]
    );
    let found = async || world.store.read().await.unwrap().networks().probe(&platform(), id).await.unwrap();
    let row = ProbeRow { node: id, asked_at: asked, report: Some("one".to_owned()) };
    assert_eq!(found().await, Some(row));
    write!(world, |tx| tx.networks().ask_probe(&platform(), id, again).await).unwrap();
    assert_eq!(found().await, Some(ProbeRow { node: id, asked_at: again, report: None }));
    let all = world.store.read().await.unwrap().networks().probes(&platform()).await.unwrap();
    assert_eq!(all.len(), 1);
    write!(world, |tx| tx.networks().forget_probes(&platform()).await).unwrap();
    assert_eq!(found().await, None);
}

async fn what_kernels_counted_is_kept_for_each_host(world: World) {
    let tenant = world.tenant("demo").await;
    // The host may be gone: its counts still matter.
    let (first, second) = (id!(NodeId), id!(NodeId));
    for (node, tally) in [(first, "1"), (second, "2"), (first, "3")] {
        write!(world, |tx| tx.networks().put_tally(&of(tenant), tenant, node, tally.to_owned()).await)
            .unwrap();
        write!(world, |tx| tx.networks().put_kernel_check(&of(tenant), tenant, tally.to_owned()).await)
            .unwrap();
    }
    let mut reader = world.store.read().await.unwrap();
    let tallies = reader.networks().tallies(&of(tenant), tenant).await.unwrap();
    assert_eq!(tallies, [(first, "3".to_owned()), (second, "2".to_owned())]);
    drop(reader);
    for _ in 0..2 {
        write!(world, |tx| tx.networks().add_moved(&of(tenant), tenant, 5, 7).await).unwrap();
    }
    let unknown = id!(TenantId);
    write!(world, |tx| tx.networks().add_moved(&platform(), unknown, 5, 7).await).unwrap();
    let kept = world.store.read().await.unwrap().networks().kernel_check(&of(tenant), tenant).await.unwrap();
    let expected = KernelCheckRow { pushed_bytes: 10, streamed_bytes: 14, state: Some("3".to_owned()) };
    assert_eq!(kept, expected);
}

async fn enrolled(world: &World) -> NodeId {
    let row = node();
    let id = row.id;
    write!(world, |tx| tx.nodes().insert(&platform(), &row).await).unwrap();
    id
}
