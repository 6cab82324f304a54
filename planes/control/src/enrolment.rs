//! Enrolment: one-time tokens for workloads, and their certificates.

use crate::body::Strict;
use crate::caller;
use crate::ctx::Ctx;
use crate::identity::CERTIFICATE_MS;
use crate::node;
use crate::refusal::{Answer, Refusal};
use api::enrolment::{
    CSR_MAX, Enrol, Enrolled, EnrolmentKind, IssueEnrolment, IssuedCertificate, IssuedEnrolment,
    RenewCertificate,
};
use api::{Code, Problem};
use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use serve::ca::{Subject, Use};
use store::{EnrolmentToken, NodeRow, Redeem, SidecarRow, Tx};
use terms::{
    Action, Actor, Digest, NodeId, Scope, SidecarId, SpiffeId, TenantId, Timestamp, Token, Workload,
};
use wire::event::EventKind;

/// How long a token works: long enough for a process to start, short enough to be worthless in a backup.
const TOKEN_MS: i64 = 10 * 60_000;

/// Issues a one-time token. It is shown this once; only its digest is kept.
pub(crate) async fn issue(
    ctx: Ctx,
    body: Strict<IssueEnrolment>,
) -> Answer<(StatusCode, Json<IssuedEnrolment>)> {
    let IssueEnrolment { kind, tenant } = body.value;
    let permit = match (kind, tenant) {
        (EnrolmentKind::Node, None) => ctx.platform()?,
        (EnrolmentKind::DataPlane | EnrolmentKind::Sidecar, Some(tenant)) => ctx.permit(tenant)?,
        (EnrolmentKind::Node, Some(_)) | (EnrolmentKind::DataPlane | EnrolmentKind::Sidecar, None) => {
            let detail = "`tenant` is needed for data planes and sidecars, and for them only";
            return Err(Problem::new(Code::MalformedRequest).detail(detail).into());
        }
    };
    if let (Actor::Node(_), Some(tenant)) = (ctx.actor, tenant) {
        require_here(&ctx, tenant).await?;
    }
    let token = Token::mint("enrol", &ctx.app.entropy::<32>()?);
    let row = EnrolmentToken {
        digest: token.digest(),
        kind: kind_row(kind),
        tenant,
        expires_at: ctx.now.plus_ms(TOKEN_MS),
        used_at: None,
    };
    let (expires_at, now) = (row.expires_at, ctx.now);
    let entry = ctx.deed(format!("enrolment/{}", kind.as_str()), tenant);
    ctx.app
        .store
        .write(move |tx| {
            Box::pin(async move {
                tx.enrolments().insert(&permit, &row, now).await?;
                tx.audit(entry);
                Ok::<_, store::StoreError>(())
            })
        })
        .await?;
    Ok((StatusCode::CREATED, Json(IssuedEnrolment { token: token.expose().to_owned(), expires_at })))
}

/// Refuses a node that asks for a tenant which is not placed on it: its word is worth no other host's tenants.
async fn require_here(ctx: &Ctx, tenant: TenantId) -> Answer<()> {
    let node = node::caller(ctx).await?.id;
    let placed = ctx.app.store.read().await?.placements().of(&ctx.permit(tenant)?, tenant).await?;
    if placed.is_some_and(|placed| placed.node == node) {
        return Ok(());
    }
    let detail = format!("tenant `{tenant}` is not placed on this node");
    Err(Problem::new(Code::Forbidden).detail(detail).into())
}

/// Enrols a workload: redeems its token and issues its certificate in one commit.
pub(crate) async fn enrol(
    ctx: Ctx,
    headers: HeaderMap,
    body: Strict<Enrol>,
) -> Answer<(StatusCode, Json<Enrolled>)> {
    let token = match caller::bearer(&headers) {
        Some(Ok(token)) => token.digest(),
        Some(Err(_)) | None => return Err(Code::EnrolmentRefused.into()),
    };
    let public_key = body.value.public_key.as_deref().map(read_public_key).transpose()?;
    let newcomer = Newcomer {
        token,
        csr: body.value.csr,
        public_key,
        sidecar: SidecarId::mint(ctx.now, ctx.app.entropy()?),
        node: NodeId::mint(ctx.now, ctx.app.entropy()?),
    };
    let event = ctx.event(EventKind::Enrolment, "enrolment", None)?;
    let (app, now) = (ctx.app.clone(), ctx.now);
    let mut entry = ctx.deed("enrolment", None);
    let enrolled = ctx
        .app
        .store
        .write(move |tx| {
            Box::pin(async move {
                let permit = guard::permit(Actor::Enrolling, Action::Enrol, Scope::Platform)?;
                let redeemed = tx.enrolments().redeem(&permit, newcomer.token, now).await.map_err(refused)?;
                let workload = newcomer.workload(&redeemed)?;
                entry.resource = format!("workload/{}", SpiffeId::new(app.domain.clone(), workload));
                entry.tenant = redeemed.tenant;
                let certificate = certify(&app, tx, workload, &newcomer.csr, now).await?;
                newcomer.keep(tx, workload, now).await?;
                tx.audit(entry.clone());
                tx.event(wire::event::SecurityEvent {
                    resource: entry.resource,
                    tenant: redeemed.tenant,
                    ..event
                });
                Ok::<_, Refusal>(answer(&app, workload, certificate))
            })
        })
        .await?;
    Ok((StatusCode::CREATED, Json(enrolled)))
}

/// Renews the caller's certificate, for a new key.
pub(crate) async fn renew(
    ctx: Ctx,
    body: Strict<RenewCertificate>,
) -> Answer<(StatusCode, Json<IssuedCertificate>)> {
    let (workload, tenant) = match ctx.actor {
        Actor::DataPlane(tenant) => (Workload::DataPlane(tenant), Some(tenant)),
        Actor::Sidecar(tenant, id) => (Workload::Sidecar(tenant, id), Some(tenant)),
        Actor::Node(id) => (Workload::Node(id), None),
        Actor::Operator(_) | Actor::Enrolling | Actor::System => return Err(Code::Forbidden.into()),
    };
    match tenant {
        Some(tenant) => ctx.permit(tenant)?,
        None => ctx.platform()?,
    };
    require_enrolled(&ctx, workload).await?;
    let entry = ctx.deed(format!("workload/{}", SpiffeId::new(ctx.app.domain.clone(), workload)), tenant);
    let event = ctx.event(EventKind::CertificateIssued, entry.resource.clone(), tenant)?;
    let (app, now, csr) = (ctx.app.clone(), ctx.now, body.value.csr);
    let issued = ctx
        .app
        .store
        .write(move |tx| {
            Box::pin(async move {
                let issued = certify(&app, tx, workload, &csr, now).await?;
                tx.audit(entry);
                tx.event(event);
                Ok::<_, Refusal>(issued)
            })
        })
        .await?;
    Ok((StatusCode::CREATED, Json(issued)))
}

/// A workload that holds a token.
struct Newcomer {
    token: Digest,
    csr: String,
    public_key: Option<[u8; 32]>,
    sidecar: SidecarId,
    node: NodeId,
}

impl Newcomer {
    /// What the redeemed token makes of it.
    fn workload(&self, redeemed: &EnrolmentToken) -> Answer<Workload> {
        match (redeemed.kind, redeemed.tenant, self.public_key) {
            (store::EnrolmentKind::DataPlane, Some(tenant), None) => Ok(Workload::DataPlane(tenant)),
            (store::EnrolmentKind::Sidecar, Some(tenant), Some(_)) => {
                Ok(Workload::Sidecar(tenant, self.sidecar))
            }
            (store::EnrolmentKind::Node, None, None) => Ok(Workload::Node(self.node)),
            (
                store::EnrolmentKind::DataPlane | store::EnrolmentKind::Sidecar | store::EnrolmentKind::Node,
                _,
                _,
            ) => {
                let detail = "`public_key` is needed for sidecars, and for them only";
                Err(Problem::new(Code::MalformedRequest).detail(detail).into())
            }
        }
    }

    async fn keep(&self, tx: &mut Tx, workload: Workload, now: Timestamp) -> Answer<()> {
        match (workload, self.public_key) {
            (Workload::Sidecar(tenant, id), Some(key)) => {
                let permit = guard::permit(Actor::System, Action::IssueEnrolment, Scope::Tenant(tenant))?;
                tx.sidecars().insert(&permit, &SidecarRow::enrolled(id, tenant, key, now)).await?;
            }
            (Workload::Node(id), _) => {
                let permit = guard::permit(Actor::System, Action::IssueEnrolment, Scope::Platform)?;
                if tx.nodes().all(&permit).await?.len() >= store::NODES_MAX as usize {
                    return Err(Code::TooManyNodes.into());
                }
                let state = store::NodeState::Active;
                tx.nodes().insert(&permit, &NodeRow { id, enrolled_at: now, last_seen: now, state }).await?;
            }
            (Workload::DataPlane(_) | Workload::ControlPlane | Workload::Sidecar(..), _) => {}
        }
        Ok(())
    }
}

fn refused(error: Redeem) -> Refusal {
    match error {
        Redeem::Unknown | Redeem::Used | Redeem::Expired => Code::EnrolmentRefused.into(),
        Redeem::Store(error) => error.into(),
    }
}

fn read_public_key(text: &str) -> Answer<[u8; 32]> {
    let refused = || {
        Refusal::from(Problem::new(Code::MalformedRequest).detail("`public_key` is not 32 bytes in base64"))
    };
    let key: [u8; 32] = STANDARD.decode(text).map_err(|_| refused())?.try_into().map_err(|_| refused())?;
    notary::EnvelopeKey::new(key).map_err(|_| refused())?;
    Ok(key)
}

/// Refuses a workload that was removed while its certificate still runs.
async fn require_enrolled(ctx: &Ctx, workload: Workload) -> Answer<()> {
    let mut reader = ctx.app.store.read().await?;
    let known = match workload {
        Workload::DataPlane(tenant) => reader.tenants().load(&ctx.permit(tenant)?, tenant).await.is_ok(),
        Workload::Sidecar(tenant, id) => reader.sidecars().load(&ctx.permit(tenant)?, id).await.is_ok(),
        Workload::Node(id) => reader.nodes().find(id).await?.is_some(),
        Workload::ControlPlane => false,
    };
    if known { Ok(()) } else { Err(Code::Forbidden.into()) }
}

/// Issues a certificate for the key in `csr` and keeps its record.
async fn certify(
    app: &crate::app::App,
    tx: &mut Tx,
    workload: Workload,
    csr: &str,
    now: Timestamp,
) -> Answer<IssuedCertificate> {
    if csr.len() > CSR_MAX {
        return Err(Code::CertificateRequestInvalid.into());
    }
    let spiffe = SpiffeId::new(app.domain.clone(), workload);
    let usage = match workload {
        Workload::DataPlane(_) => Use::Both,
        Workload::Sidecar(..) | Workload::Node(_) | Workload::ControlPlane => Use::Client,
    };
    let subject =
        Subject { spiffe: &spiffe, dns_names: &[], ips: &[], usage, now, lifetime_ms: CERTIFICATE_MS };
    let certificate = app.identity.authority().issue_from_csr(csr, &subject).map_err(|error| {
        Refusal::from(Problem::new(Code::CertificateRequestInvalid).detail(error.to_string()))
    })?;
    let (tenant, system) = (tenant_of(workload), Actor::System);
    let permit =
        guard::permit(system, Action::IssueEnrolment, tenant.map_or(Scope::Platform, Scope::Tenant))?;
    crate::certificate::keep(tx, &permit, &spiffe, tenant, &certificate, now).await?;
    Ok(IssuedCertificate {
        chain: certificate.chain_pem,
        roots: app.identity.roots_pem().to_owned(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
    })
}

const fn tenant_of(workload: Workload) -> Option<TenantId> {
    match workload {
        Workload::DataPlane(tenant) | Workload::Sidecar(tenant, _) => Some(tenant),
        Workload::Node(_) | Workload::ControlPlane => None,
    }
}

fn answer(app: &crate::app::App, workload: Workload, certificate: IssuedCertificate) -> Enrolled {
    Enrolled {
        certificate,
        tenant: tenant_of(workload),
        sidecar: match workload {
            Workload::Sidecar(_, id) => Some(id),
            Workload::DataPlane(_) | Workload::Node(_) | Workload::ControlPlane => None,
        },
        node: match workload {
            Workload::Node(id) => Some(id),
            Workload::DataPlane(_) | Workload::Sidecar(..) | Workload::ControlPlane => None,
        },
        trust_domain: app.domain.to_string(),
        issuer: app.config.public_url.clone(),
    }
}

const fn kind_row(kind: EnrolmentKind) -> store::EnrolmentKind {
    match kind {
        EnrolmentKind::DataPlane => store::EnrolmentKind::DataPlane,
        EnrolmentKind::Sidecar => store::EnrolmentKind::Sidecar,
        EnrolmentKind::Node => store::EnrolmentKind::Node,
    }
}
