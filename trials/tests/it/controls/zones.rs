//! What lies open in a zone's folder, and what answers in a zone's place: secrets, plaintext, unchecked input.

use super::intruder::Intruder;
use super::stand_in::Serving;
use super::{Halted, check, expect_green, expect_red};
use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use http::StatusCode;
use serve::tls::{self, ClientAuth};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use terms::Workload;
use trials::{Options, Site, is_full};

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_any_zones_log_turns_the_secrets_check_red() -> Result<()> {
    let site = Site::up(Options::default()).await?;
    let token = std::fs::read_to_string(site.state().join("operator.token"))?;
    let journal_key = std::fs::read_to_string(site.state_of("data-")?.join("root.key"))?;
    let logs = site.state().join("node/logs");
    for (log, secret) in [
        (site.state().join("control/log"), &token),
        (site.state().join("node/log"), &token),
        (only_file(&logs, "data-")?, &journal_key),
        (only_file(&logs, "meter-")?, &token),
        (site.state_of("run-")?.join("core"), &token),
    ] {
        expect_green(&site, "OPS-2", "nothing leaked").await?;
        let clean = std::fs::metadata(&log).map_or(0, |log| log.len());
        let mut file = File::options().create(true).append(true).open(&log)?;
        writeln!(file, "leaked {secret}")?;
        let facts = ["found in", "places with a secret"];
        let found = expect_red(&site, "OPS-2", &facts, &format!("a secret in {}", log.display())).await?;
        let places = found.facts.get("found in").context("a place")?;
        ensure!(places.contains(&*log.to_string_lossy()), "found in {places}, not in {}", log.display());
        ensure!(!found.facts.values().any(|fact| fact.contains(secret.trim())), "the secret is told");
        file.set_len(clean)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_that_nobody_searched_are_not_taken_for_clean() -> Result<()> {
    if !is_full("a node that does not answer for its host") {
        return Ok(());
    }
    let site = Site::up(Options::default()).await?;
    let _node = Halted::halt(site.pid_of("palisade-node")?)?;
    let found = check(&site, "OPS-2").await?;
    let is_said = found.facts.get("not searched").is_some_and(|zones| zones.contains("zones of tenant"));
    ensure!(found.outcome == "not_run" && is_said, "{}: {:?}", found.outcome, found.facts);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_beside_the_database_turns_its_check_red() -> Result<()> {
    let site = Site::up(Options::default()).await?;
    let workflow: serde_json::Value = site.api()?.get("/v1/tenants/demo/workflows/orders").await?;
    let document = workflow.get("document").and_then(serde_json::Value::as_str).context("a document")?;
    expect_green(&site, "DATA-1", "nothing beside it").await?;
    let spill = site.state().join("control/palisade.db-journal");
    std::fs::write(&spill, document)?;
    let owner = std::fs::metadata(site.state().join("control"))?.uid();
    chown(&spill, Some(owner), None)?;
    expect_red(&site, "DATA-1", &["known plaintexts found"], "a workflow in a file beside it").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_does_not_look_at_its_input_turns_the_input_check_red() -> Result<()> {
    let site = Site::up(Options::default()).await?;
    expect_green(&site, "OPS-3", "its own listener").await?;
    let ready = site.state().join("control/ready.json");
    let own = std::fs::read_to_string(&ready)?;
    let refusal = serde_json::to_string(&api::Problem::new(api::Code::MalformedRequest))?;
    let bad = ["malformed-json", "duplicate-name", "unknown-field", "deep-nesting", "malformed-workflow"];
    let other = ["well-formed", "oversized-body", "bad-id", "malformed-workflow"];
    for (what, status, body, facts) in [
        ("a listener that takes everything", StatusCode::OK, "{}", bad.as_slice()),
        ("a listener that refuses everything alike", StatusCode::BAD_REQUEST, &refusal, &other),
    ] {
        let serving = in_place_of_the_api(&site, status, body.to_owned()).await?;
        let mut told: serde_json::Value = serde_json::from_str(&own)?;
        told["address"] = serving.address.to_string().into();
        std::fs::write(&ready, told.to_string())?;
        let found = check(&site, "OPS-3").await?;
        ensure!(found.outcome == "fail", "{} with {what}", found.outcome);
        for fact in facts {
            let seen = found.facts.get(*fact).context("a row")?;
            ensure!(seen.contains("(must be "), "{fact} is {seen} with {what}");
        }
        std::fs::write(&ready, &own)?;
        serving.end().await?;
    }
    expect_green(&site, "OPS-3", "its own listener again").await
}

/// A listener with a certificate of the control plane's, which gives one answer to everything.
async fn in_place_of_the_api(site: &Site, status: StatusCode, body: String) -> Result<Serving> {
    let identity = Intruder::into(site)?.identity(Workload::ControlPlane, host::clock::now()).await?;
    let tls = tls::server_config(&identity, &ClientAuth::None)?;
    // It reads whatever is sent: who is cut off while sending never reads the answer.
    let answer =
        move |_read: Bytes| async move { (status, [("content-type", api::problem::MEDIA_TYPE)], body) };
    let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable());
    Serving::begin(([127, 0, 0, 1], 0).into(), tls, router).await
}

fn only_file(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let names = std::fs::read_dir(folder)?.flatten();
    let mut found = names.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    Ok(found.next().with_context(|| format!("no {prefix}* in {}", folder.display()))?.path())
}
