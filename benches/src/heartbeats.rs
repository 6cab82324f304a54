//! Heartbeats accepted durably over HTTPS, in batches of 100.

use crate::limits::rate_of;
use crate::report::{Reached, Report};
use anyhow::{Context as _, Result, ensure};
use api::enrolment::{Enrol, Enrolled, EnrolmentKind, IssueEnrolment, IssuedEnrolment};
use api::heartbeat::{DeliverHeartbeats, HeartbeatReceipts, ReceiptStatus};
use api::tenant::TenantView;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::hint::black_box;
use http::Method;
use meter::{Chain, Made};
use notary::{EnvelopeKey, SidecarKey, verify_envelope};
use serve::ca::new_key_and_csr;
use serve::client::{Client, ClientOptions};
use serve::tls::{self, Identity, Roots};
use std::time::Instant;
use terms::{Token, Unverified};
use trials::Site;
use wire::dsse::Envelope;
use wire::heartbeat::{Integrity, PAYLOAD_TYPE, Totals};

/// Heartbeats of one batch, batches of one sidecar, sidecars at once.
const BATCH: u32 = 100;
const BATCHES: u32 = 150;
const SIDECARS: u32 = 4;

/// Measures them.
pub(crate) async fn measure(report: &mut Report, site: &Site) -> Result<()> {
    let tenant: TenantView = site.api()?.get("/v1/tenants/demo").await?;
    let mut senders = Vec::new();
    for _ in 0..SIDECARS {
        senders.push(Sender::enrol(site, &tenant).await?);
    }
    let raw = raw_verify()?;
    let begin = Instant::now();
    let mut running = Vec::new();
    for sender in senders {
        running.push(tokio::spawn(sender.send_all()));
    }
    for one in running {
        one.await??;
    }
    let rate = f64::from(BATCH * BATCHES * SIDECARS) / begin.elapsed().as_secs_f64();
    let against = format!("raw Ed25519 verify {raw:.0}/s on one core");
    report.line(
        "heartbeats accepted over HTTPS, batches of 100",
        format!("{rate:.0}/s"),
        against,
        ">= 10 000/s",
        rate >= 10_000.0,
    );
    let share = format!("{:.0} % of one core", 100.0 * rate / raw);
    report.line("... share of raw verification", share, "", "reported", Reached::Context);
    Ok(())
}

/// A sidecar with everything that it will send, made before the clock starts.
struct Sender {
    url: String,
    client: Client,
    batches: Vec<DeliverHeartbeats>,
}

impl Sender {
    async fn enrol(site: &Site, tenant: &TenantView) -> Result<Self> {
        let issue = IssueEnrolment { kind: EnrolmentKind::Sidecar, tenant: Some(tenant.id) };
        let issued: IssuedEnrolment = site.api()?.post("/v1/enrolments", &issue).await?;
        let token: Token = issued.token.parse()?;
        let (signing, _) = SidecarKey::generate()?;
        let (key, csr) = new_key_and_csr()?;
        let body = Enrol { csr, public_key: Some(STANDARD.encode(signing.public_key())) };
        let roots = Roots::from_pem(&std::fs::read_to_string(site.ca_file())?)?;
        let anonymous = Client::new(tls::client_config(&roots, None)?, ClientOptions::default());
        let url = format!("{}/v1/enrol", site.url());
        let enrolled: Enrolled =
            anonymous.json(Method::POST, &url, Some(&token), Some(&body), 1 << 20).await?;
        let identity = Identity::from_pem(&enrolled.certificate.chain, key.expose())?;
        let client = Client::new(tls::client_config(&roots, Some(&identity))?, ClientOptions::default());
        let chain = Chain::enrolled(enrolled.sidecar.context("a sidecar's id")?, tenant.id);
        let batches = batches(chain.restarted(), &signing)?;
        Ok(Self { url: format!("{}/v1/heartbeats/batch", site.url()), client, batches })
    }

    async fn send_all(self) -> Result<()> {
        for batch in self.batches {
            let receipts: HeartbeatReceipts =
                self.client.json(Method::POST, &self.url, None, Some(&batch), 1 << 20).await?;
            let accepted = receipts.receipts.iter().all(|r| r.status == ReceiptStatus::Accepted);
            ensure!(accepted, "a heartbeat was not accepted: {:?}", receipts.receipts.first());
        }
        Ok(())
    }
}

fn batches(mut chain: Chain, key: &SidecarKey) -> Result<Vec<DeliverHeartbeats>> {
    let mut batches = Vec::new();
    for _ in 0..BATCHES {
        let mut heartbeats = Vec::new();
        for _ in 0..BATCH {
            let made = Made {
                now: host::clock::now(),
                totals: Totals::default(),
                release: "bench".to_owned(),
                integrity: Integrity::UNCHECKED,
                nonce: None,
                spooled: true,
            };
            let link = chain.next(made)?;
            heartbeats.push(key.sign(PAYLOAD_TYPE, &link.payload)?);
            chain = link.next;
        }
        batches.push(DeliverHeartbeats { heartbeats });
    }
    Ok(batches)
}

fn raw_verify() -> Result<f64> {
    let (key, _) = SidecarKey::generate()?;
    let envelope: Envelope = key.sign(PAYLOAD_TYPE, &[0x20; 700])?;
    let public = EnvelopeKey::new(key.public_key())?;
    Ok(rate_of(|| drop(black_box(verify_envelope(&public, Unverified::new(envelope.clone()), PAYLOAD_TYPE)))))
}
