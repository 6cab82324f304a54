//! What belongs to the platform itself: settings, signing keys, enrolments, workloads, alarms, results.

use crate::seed::{alarm, certificate, token};
use crate::world::{NOW, World, of, platform};
use store::{
    AssuranceResult, DataPlaneRow, EnrolmentKind, Page, Redeem, SigningKeyRow, StoreError, WriteError,
};
use terms::{Digest, KeyId, TenantId};
use zeroize::Zeroizing;

contracts! {
    a_setting_is_replaced,
    signing_keys_are_listed_oldest_first,
    an_enrolment_token_is_redeemed_once,
    of_two_redeemers_at_once_one_wins,
    an_expired_or_unknown_token_is_refused,
    tokens_whose_time_is_over_are_forgotten,
    only_the_latest_certificate_of_a_workload_expires,
    what_a_node_reports_replaces_what_it_reported,
    a_data_plane_of_a_deleted_tenant_is_passed_over,
    an_alarm_is_raised_once_while_it_is_open,
    an_alarm_is_closed_where_it_is_open_and_raised_again,
    the_latest_result_of_each_control_is_shown,
}

async fn a_setting_is_replaced(world: World) {
    for value in ["one", "two"] {
        write!(world, |tx| tx.settings().put("name", value.as_bytes()).await).unwrap();
    }
    let world = world.reopened().await;
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(reader.settings().get("name").await.unwrap().unwrap().as_slice(), b"two");
    assert!(reader.settings().get("other").await.unwrap().is_none());
}

async fn signing_keys_are_listed_oldest_first(world: World) {
    for (n, letter) in ["b", "a"].into_iter().enumerate() {
        let row = SigningKeyRow {
            kid: kid(letter),
            state: "staged".to_owned(),
            since: NOW,
            created_at: NOW.plus_ms(n as i64),
            jwk: format!("{{\"kid\":\"{letter}\"}}"),
            private: Zeroizing::new(letter.as_bytes().to_vec()),
        };
        write!(world, |tx| tx.signing_keys().insert(&row).await).unwrap();
    }
    let later = NOW.plus_ms(9);
    write!(world, |tx| tx.signing_keys().set_state(&kid("b"), "active", later).await).unwrap();
    let keys = world.store.read().await.unwrap().signing_keys().list().await.unwrap();
    let found: Vec<_> =
        keys.iter().map(|k| (k.kid.clone(), k.state.as_str(), k.since, k.private.to_vec())).collect();
    assert_eq!(found, [(kid("b"), "active", later, b"b".to_vec()), (kid("a"), "staged", NOW, b"a".to_vec())]);
    let refused = write!(world, |tx| tx.signing_keys().set_state(&kid("c"), "active", later).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::NotFound("signing key"))));
}

async fn an_enrolment_token_is_redeemed_once(world: World) {
    let tenant = world.tenant("demo").await;
    let issued = token(EnrolmentKind::Sidecar, Some(tenant));
    let digest = issued.digest;
    write!(world, |tx| tx.enrolments().insert(&of(tenant), &issued, NOW).await).unwrap();
    let redeemed = write!(world, |tx| tx.enrolments().redeem(&platform(), digest, NOW).await).unwrap();
    assert_eq!((redeemed.kind, redeemed.tenant), (EnrolmentKind::Sidecar, Some(tenant)));
    assert_eq!(redeemed.used_at, Some(NOW));
    let again = write!(world, |tx| tx.enrolments().redeem(&platform(), digest, NOW).await);
    assert_eq!(again, Err(WriteError::Work(Redeem::Used)));
}

async fn of_two_redeemers_at_once_one_wins(world: World) {
    let issued = token(EnrolmentKind::Node, None);
    let digest = issued.digest;
    write!(world, |tx| tx.enrolments().insert(&platform(), &issued, NOW).await).unwrap();
    let redeem = || {
        world
            .store
            .write(move |tx| Box::pin(async move { tx.enrolments().redeem(&platform(), digest, NOW).await }))
    };
    let answers = futures_util::future::join_all((0..8).map(|_| redeem())).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

async fn an_expired_or_unknown_token_is_refused(world: World) {
    let issued = token(EnrolmentKind::Node, None);
    let (digest, end) = (issued.digest, issued.expires_at);
    write!(world, |tx| tx.enrolments().insert(&platform(), &issued, NOW).await).unwrap();
    let late = write!(world, |tx| tx.enrolments().redeem(&platform(), digest, end).await);
    assert_eq!(late, Err(WriteError::Work(Redeem::Expired)));
    let unknown = Digest::sha256(b"unknown");
    let refused = write!(world, |tx| tx.enrolments().redeem(&platform(), unknown, NOW).await);
    assert_eq!(refused, Err(WriteError::Work(Redeem::Unknown)));
    write!(world, |tx| tx.enrolments().redeem(&platform(), digest, end.plus_ms(-1)).await).unwrap();
}

async fn tokens_whose_time_is_over_are_forgotten(world: World) {
    for n in 0..3 {
        let mut issued = token(EnrolmentKind::Node, None);
        issued.expires_at = NOW.plus_ms(n * 10);
        let now = NOW.plus_ms(n * 10);
        write!(world, |tx| tx.enrolments().insert(&platform(), &issued, now).await).unwrap();
    }
    assert_eq!(world.place.number("SELECT count(*) FROM enrolments").await, 1);
}

async fn only_the_latest_certificate_of_a_workload_expires(world: World) {
    for (spiffe, ends) in [("spiffe://d/a", 10), ("spiffe://d/a", 900), ("spiffe://d/b", 20)] {
        let row = certificate(spiffe, None, ends);
        write!(world, |tx| tx.workloads().insert_certificate(&platform(), &row).await).unwrap();
    }
    let mut reader = world.store.read().await.unwrap();
    let expiring = reader.workloads().expiring(&platform(), NOW.plus_ms(100)).await.unwrap();
    assert_eq!(expiring.iter().map(|c| c.spiffe.as_str()).collect::<Vec<_>>(), ["spiffe://d/b"]);
}

async fn what_a_node_reports_replaces_what_it_reported(world: World) {
    let tenant = world.tenant("demo").await;
    for pid in [1, 2] {
        let row = data_plane(tenant, pid);
        write!(world, |tx| tx.workloads().upsert_data_plane(&platform(), &row).await).unwrap();
    }
    let mut reader = world.store.read().await.unwrap();
    let found = reader.workloads().data_plane(&of(tenant), tenant).await.unwrap();
    assert_eq!(found, Some(data_plane(tenant, 2)));
    let (all, _) = reader.workloads().list_data_planes(&platform(), &Page::first(9)).await.unwrap();
    assert_eq!(all, [data_plane(tenant, 2)]);
    drop(reader);
    write!(world, |tx| tx.workloads().forget_data_plane(&of(tenant), tenant).await).unwrap();
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(reader.workloads().data_plane(&of(tenant), tenant).await, Ok(None));
}

async fn a_data_plane_of_a_deleted_tenant_is_passed_over(world: World) {
    let row = data_plane(id!(TenantId), 1);
    write!(world, |tx| tx.workloads().upsert_data_plane(&platform(), &row).await).unwrap();
    assert_eq!(world.place.number("SELECT count(*) FROM data_planes").await, 0);
}

async fn an_alarm_is_raised_once_while_it_is_open(world: World) {
    let tenant = world.tenant("demo").await;
    let first = alarm("tamper", "sidecar/1", Some(tenant));
    let kept = first.clone();
    let raised = [
        first,
        alarm("tamper", "sidecar/1", Some(tenant)),
        alarm("tamper", "sidecar/2", None),
        alarm("other", "sidecar/1", None),
    ];
    let mut answers = Vec::new();
    for alarm in raised {
        answers.push(write!(world, |tx| tx.alarms().insert(&alarm).await).unwrap());
    }
    assert_eq!(answers, [true, false, true, true]);
    let (alarms, _) =
        world.store.read().await.unwrap().alarms().list(&platform(), &Page::first(9)).await.unwrap();
    assert_eq!(alarms.len(), 3);
    assert_eq!(alarms[2], kept, "the oldest comes last");
}

async fn an_alarm_is_closed_where_it_is_open_and_raised_again(world: World) {
    for resource in ["node/1/host", "node/1/router", "node/10/host", "node/1"] {
        let alarm = alarm("drift", resource, None);
        assert!(write!(world, |tx| tx.alarms().insert(&alarm).await).unwrap());
    }
    let open = async || {
        let mut reader = world.store.read().await.unwrap();
        reader.alarms().open_below(&platform(), "drift", "node/1").await.unwrap()
    };
    assert_eq!(open().await, ["node/1/host", "node/1/router"]);
    let close = async |kind: &'static str| {
        write!(world, |tx| tx.alarms().close(&platform(), kind, "node/1/host").await).unwrap()
    };
    assert_eq!([close("other").await, close("drift").await, close("drift").await], [false, true, false]);
    assert_eq!(open().await, ["node/1/router"]);
    let again = alarm("drift", "node/1/host", None);
    assert!(write!(world, |tx| tx.alarms().insert(&again).await).unwrap());
    assert_eq!(open().await.len(), 2);
}

async fn the_latest_result_of_each_control_is_shown(world: World) {
    for (control, at, outcome) in
        [("B-1", 1, "pass"), ("A-1", 2, "fail"), ("A-1", 3, "pass"), ("B-1", 0, "fail")]
    {
        let row = result(control, at, outcome);
        write!(world, |tx| tx.assurance_results().insert(&platform(), &row).await).unwrap();
    }
    let latest = world.store.read().await.unwrap().assurance_results().latest(&platform()).await.unwrap();
    assert_eq!(latest, [result("A-1", 3, "pass"), result("B-1", 1, "pass")]);
}

fn result(control: &str, at: i64, outcome: &str) -> AssuranceResult {
    AssuranceResult {
        control: control.to_owned(),
        time: NOW.plus_ms(at),
        outcome: outcome.to_owned(),
        facts: "{\"a\":\"b\"}".to_owned(),
        evidence_digest: Some(Digest::sha256(control.as_bytes())),
    }
}

fn data_plane(tenant: TenantId, pid: u32) -> DataPlaneRow {
    DataPlaneRow {
        tenant,
        url: format!("https://127.0.0.1:{pid}"),
        pid,
        sidecar_pid: pid + 1,
        driver: "loopback".to_owned(),
        last_seen: NOW,
    }
}

fn kid(letter: &str) -> KeyId {
    letter.repeat(43).parse().unwrap()
}
