//! A data plane that was replaced: by one whose plan gate lacks a check, by one that shows an old certificate, by one
//! that speaks older TLS.

use super::intruder::{DAY_MS, Intruder};
use super::stand_in::{Manner, Serving, StandIn, Vacancy};
use super::{expect_green, expect_red};
use crate::attacks::ATTACKS;
use crate::shared::sample;
use anyhow::{Context as _, Result, ensure};
use api::execution::ExecutionView;
use axum::Router;
use serve::tls::{self, ClientAuth};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use terms::Workload;
use trials::{Options, Site, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_gate_that_lacks_any_one_check_turns_the_plan_checks_red() -> Result<()> {
    let (site, vacancy) = vacant().await?;
    let executions: Vec<ExecutionView> = site.api()?.all("/v1/tenants/demo/executions").await?;
    let stand_in = StandIn::take(&site, &vacancy, executions.first().context("an execution")?).await?;
    for control in ["PLAN-2", "PLAN-3", "PLAN-4"] {
        expect_green(&site, control, "a stand-in that lacks nothing").await?;
    }
    let codes: BTreeSet<&str> =
        ATTACKS.map(|(_, code)| code).into_iter().filter(|code| *code != "ok").collect();
    for code in codes {
        stand_in.judge(Manner::Forgiving(code));
        let let_through = ATTACKS.iter().filter(|(_, refused_with)| *refused_with == code);
        let let_through: Vec<&str> = let_through.map(|(name, _)| *name).collect();
        expect_red(&site, "PLAN-3", &let_through, &format!("a gate that forgives {code}")).await?;
    }
    for (code, facts) in
        [("plan.replayed", ["runs", "same-plan"].as_slice()), ("plan.conflict", &["same-id"])]
    {
        stand_in.judge(Manner::Forgiving(code));
        expect_red(&site, "PLAN-4", facts, &format!("a gate that forgives {code}")).await?;
    }
    stand_in.leave().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_failed_for_its_key_turns_the_key_check_red() -> Result<()> {
    let (site, vacancy) = vacant().await?;
    let executions: Vec<ExecutionView> = site.api()?.all("/v1/tenants/demo/executions").await?;
    let stand_in = StandIn::take(&site, &vacancy, executions.first().context("an execution")?).await?;
    expect_green(&site, "PLAN-2", "no plan that failed").await?;
    stand_in.judge(Manner::Refusing("plan.bad_signature"));
    let started = site.api()?.start("demo", "orders", &sample("orders.json"), "refused").await?;
    let ended = site.api()?.ended("demo", started.id, 25_000).await?;
    ensure!(ended.state.as_str() == "gave_up", "{}", ended.state.as_str());
    expect_red(&site, "PLAN-2", &["failed plans"], "a plan that was refused for its signature").await?;
    stand_in.leave().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_shows_an_old_certificate_turns_its_check_red() -> Result<()> {
    let (site, vacancy) = vacant().await?;
    let intruder = Intruder::into(&site)?;
    for (what, age_ms, facts) in [
        ("a new certificate", 0, [].as_slice()),
        ("a certificate whose renewal is overdue", DAY_MS * 11 / 12, &["shown by data plane"]),
        ("a certificate that has expired", DAY_MS + 60_000, &["shown by data plane"]),
    ] {
        let issued_at = host::clock::now().plus_ms(-age_ms);
        let identity = intruder.identity(Workload::DataPlane(vacancy.tenant), issued_at).await?;
        let tls = tls::server_config(&identity, &ClientAuth::None)?;
        let serving = Serving::begin(vacancy.address, tls, Router::new()).await?;
        match facts {
            [] => expect_green(&site, "DET-4", what).await?,
            _ => drop(expect_red(&site, "DET-4", facts, what).await?),
        }
        serving.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_speaks_other_tls_turns_its_check_red() -> Result<()> {
    let (site, vacancy) = vacant().await?;
    for (what, arguments) in [
        ("TLS 1.2 alone", ["-tls1_2"].as_slice()),
        ("TLS 1.2 beside 1.3", &["-min_protocol", "TLSv1.2", "-serverpref"]),
        ("suites in its client's order", &["-tls1_3"]),
    ] {
        let _openssl = OpenSsl::listen(&vacancy, arguments).await?;
        expect_red(&site, "DATA-7", &["data plane of"], what).await?;
    }
    Ok(())
}

async fn vacant() -> Result<(Site, Vacancy)> {
    let site = Site::up(Options::default()).await?;
    let vacancy = Vacancy::of(&site).await?;
    Ok((site, vacancy))
}

/// OpenSSL's server on a data plane's port, with its certificate.
struct OpenSsl(Child);

impl OpenSsl {
    async fn listen(vacancy: &Vacancy, arguments: &[&str]) -> Result<Self> {
        let identity = vacancy.identity.join("identity.pem");
        let child = Command::new("openssl")
            .args(["s_server", "-www", "-accept", &vacancy.address.to_string()])
            .arg("-cert")
            .arg(&identity)
            .arg("-key")
            .arg(&identity)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let openssl = Self(child);
        let address: SocketAddr = vacancy.address;
        let listens = async || std::net::TcpStream::connect(address).is_ok();
        ensure!(wait_until(Duration::from_secs(30), listens).await, "openssl does not listen");
        Ok(openssl)
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}
