//! Tenants: suspended, resumed, deleted; and the neighbour who notices nothing.

use super::{ECHOES, Home, SOON, WAITS, denied, document};
use crate::contents::{audit_log, deeds};
use crate::search::files_with;
use crate::shared::bare_site;
use api::execution::{ExecutionState, ExecutionView};
use api::route::ROUTES;
use http::Method;
use serde_json::{Value, json};
use trials::{Denied, is_full, wait_until};

/// Long enough to be suspended meanwhile, however slow the machine is.
const WAITS_A_WHILE: &str = "pause: { wait: { seconds: 8 } }";

#[tokio::test]
async fn a_suspended_tenant_stops_and_a_resumed_one_goes_on_where_it_was() {
    let site = bare_site().await;
    let (home, neighbour) = (Home::found(site, "resting").await, Home::found(site, "awake").await);
    home.api.apply("resting", &document("patient", &[WAITS_A_WHILE, ECHOES])).await.unwrap();
    neighbour.api.apply("awake", &document("echo", &[ECHOES])).await.unwrap();
    let waiting = home.start("patient", json!({ "say": "later" }), "before").await.unwrap();
    home.is_accepted(waiting.id).await;

    home.ask("POST", "/suspend", Some(json!({ "reason": "incident" }))).await.unwrap();

    let suspended = denied(409, "tenant_suspended");
    assert_eq!(home.start("patient", json!({}), "meanwhile").await.unwrap_err(), suspended);
    let applied = home.api.apply("resting", &document("new", &[ECHOES])).await;
    assert_eq!(Denied::of(applied).unwrap(), suspended);
    home.is_down().await;
    let halted: ExecutionView = home.get(&format!("/executions/{}", waiting.id)).await;
    assert_eq!(halted.state, ExecutionState::Accepted, "it ran on, or was lost");
    let said = neighbour.run("echo", json!({ "say": "here" }), "meanwhile").await;
    assert_eq!(said, json!({ "said": "here" }));

    home.ask("POST", "/resume", None).await.unwrap();

    let (state, output) = home.end_of(waiting.id).await;
    assert_eq!((state, output.unwrap()), (ExecutionState::Completed, json!({ "said": "later" })));
    let executions = home.page("").await.items;
    assert_eq!(executions.len(), 1, "what was refused was kept: {executions:?}");
    let reasons: Vec<String> = deeds(&home.api)
        .await
        .into_iter()
        .filter_map(|view| view.entry)
        .filter(|entry| entry.tenant == Some(home.tenant.id) && entry.action == "tenant.suspend")
        .map(|entry| entry.reason)
        .collect();
    assert_eq!(reasons, ["incident"]);
}

/// Words that stand nowhere else: the tenant's name, and what its document, input and key hold.
const CANARIES: [&str; 4] = ["quetzalcoatlus", "cassowary-document", "hoatzin-input", "shoebill-key"];

#[tokio::test]
async fn a_deleted_tenant_leaves_nothing_but_proof_that_it_was_deleted() {
    let site = bare_site().await;
    let [name, word, input, key] = CANARIES;
    let (home, neighbour) = (Home::found(site, name).await, Home::found(site, "staying").await);
    neighbour.api.apply("staying", &document("echo", &[ECHOES])).await.unwrap();
    let kept = neighbour.start("echo", json!({ "say": "kept" }), "kept").await.unwrap();
    neighbour.end_of(kept.id).await.1.unwrap();
    let neighbours_keeper = neighbour.processes();
    let tells = format!("tell: {{ set: {{ said: '${{ .say }}', word: {word} }} }}");
    home.api.apply(name, &document("tell", &[&tells])).await.unwrap();
    home.api.apply(name, &document("wait", &[WAITS])).await.unwrap();
    assert_eq!(home.run("tell", json!({ "say": input }), key).await, json!({ "said": input, "word": word }));
    let waiting = home.start("wait", json!({ "say": input }), "waiting").await.unwrap();
    home.is_accepted(waiting.id).await;
    let checkpoint = site.folder().join("before-deletion").display().to_string();
    site.run(&["audit", "verify", "--save", &checkpoint]).unwrap();

    home.ask("DELETE", "", None).await.unwrap();

    home.is_down().await;
    assert_is_unknown(&home).await;
    assert_no_list_names_it(&home).await;
    for canary in CANARIES {
        assert_eq!(files_with(&site.state().join("control"), canary), [] as [std::path::PathBuf; 0]);
    }
    site.run(&["audit", "verify", "--against", &checkpoint]).unwrap();
    assert_its_entries_are_sealed_for_ever(&home).await;

    let (_, output) = neighbour.end_of(kept.id).await;
    assert_eq!(output.unwrap(), json!({ "said": "kept" }));
    assert_eq!(neighbour.processes(), neighbours_keeper, "the neighbour was started again");
    assert_eq!(neighbour.run("echo", json!({ "say": "new" }), "new").await, json!({ "said": "new" }));

    let another = Home::found(site, name).await;
    assert_ne!(another.tenant.id, home.tenant.id);
    assert_eq!((another.page("").await.items, another.get::<Value>("/workflows").await), (vec![], empty()));
    assert_its_folders_vanish(&home).await;
}

/// By name or id, no route of it is there any more.
async fn assert_is_unknown(home: &Home<'_>) {
    let execution = "0190a000-0000-7000-8000-000000000000";
    let reads = ROUTES.iter().filter(|route| route.method == "get" && route.path.contains("{tenant}"));
    for route in reads {
        for tenant in [home.tenant.name.to_string(), home.tenant.id.to_string()] {
            let path = route.path.replace("{tenant}", &tenant).replace("{workflow}", "tell");
            let path = path.replace("{execution}", execution);
            let answer = home.api.call::<Value>(Method::GET, &path, None::<&()>).await;
            assert_eq!(Denied::of(answer).unwrap(), denied(404, "not_found"), "{path}");
        }
    }
}

async fn assert_no_list_names_it(home: &Home<'_>) {
    let id = home.tenant.id.to_string();
    for (list, may_name_its_id) in [
        ("/v1/tenants", false),
        ("/v1/data-planes", false),
        ("/v1/alarms", false),
        ("/v1/networks", false),
        ("/v1/nodes", false),
        // That it was deleted, and that its processes stopped.
        ("/v1/events", true),
        ("/v1/audit/entries", true),
    ] {
        let items = Value::Array(home.api.all(list).await.unwrap()).to_string();
        for canary in CANARIES {
            assert!(!items.contains(canary), "{list} shows `{canary}`");
        }
        assert!(may_name_its_id || !items.contains(&id), "{list} shows the tenant");
    }
}

/// The log holds what was done for the tenant, so that it verifies, and nobody can read it; only the deletion,
/// which is the platform's deed, can be.
async fn assert_its_entries_are_sealed_for_ever(home: &Home<'_>) {
    let log = audit_log(&home.api).await;
    let about_it = format!("tenant/{}", home.tenant.id);
    let readable: Vec<String> = log
        .iter()
        .filter_map(|view| view.entry.as_ref())
        .filter(|entry| entry.tenant == Some(home.tenant.id) || entry.resource == about_it)
        .map(|entry| entry.action.clone())
        .collect();
    assert_eq!(readable, ["tenant.delete"]);
    assert!(log.iter().any(|view| view.entry.is_none()), "the tenant's entries are gone from the log");
}

/// The node waits for a minute before it removes anything for good.
async fn assert_its_folders_vanish(home: &Home<'_>) {
    if !is_full("the folders of a deleted tenant vanish") {
        return;
    }
    let (id, state) = (home.tenant.id.to_string(), home.site.state());
    let remains = || -> Vec<String> {
        let folders =
            [state.clone(), state.join("node/logs")].map(|folder| folder.read_dir().unwrap().flatten());
        let names =
            folders.into_iter().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains(&id)).collect()
    };
    assert_ne!(remains(), [] as [String; 0], "removed before it was sure");
    let gone = wait_until(3 * SOON, async || remains().is_empty()).await;
    assert!(gone, "{:?}", remains());
}

fn empty() -> Value {
    json!({ "items": [] })
}
