//! What the control plane wants of this host's networks: verified, judged, and never taken back.
//!
//! A document is accepted if it was signed for this node by its own control plane, is newer than the last one, and
//! can be had by a host at all. Pure: the shell fetches documents, and keeps one on disk before it is held here.

pub(crate) mod fetch;
pub(crate) mod refusals;
pub(crate) mod shelf;

use crate::config::Place;
use crate::networks::Wanted;
use network::{ControlPlane, DesiredError, NumberError, TenantNetwork};
use notary::{KeySet, NetworksRefusal, verify_networks};
use terms::{NodeId, TenantId, Unverified, Verified};
use wire::networks::{HostNetworks, SignedNetworks};

/// The host that the networks are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// Its node.
    pub node: NodeId,
    /// The public URL of the control plane that the node is enrolled with.
    pub issuer: String,
    /// Where the control plane is.
    pub place: Place,
}

/// The last document that was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held(Option<Accepted>);

/// A document that this host may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    document: HostNetworks,
    wanted: Wanted,
}

/// What becomes of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is the one that is held.
    Known,
    /// It takes the place of the one that is held, once it is kept.
    Newer(Accepted),
}

/// Says why a document is refused. The list is closed: events use its codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not what the control plane signed.
    #[error(transparent)]
    Notary(#[from] NetworksRefusal),
    /// It is another host's.
    #[error("the networks are those of node `{0}`")]
    OtherNode(NodeId),
    /// It is another control plane's.
    #[error("the networks come from `{0}`, with which this node is not enrolled")]
    OtherIssuer(String),
    /// It is older than the last one.
    #[error("version `{offered}` of the networks comes after version `{held}`")]
    WentBack {
        /// Its version.
        offered: u64,
        /// The version that is held.
        held: u64,
    },
    /// It says something else than the last one, under the same version.
    #[error("version `{0}` of the networks came with two contents")]
    TwoContents(u64),
    /// It gives away a number that there is not.
    #[error(transparent)]
    Number(#[from] NumberError),
    /// No host can have it.
    #[error(transparent)]
    Unsound(#[from] DesiredError),
}

// === impl Held ===

impl Held {
    /// Its version; 0 before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.as_ref().map_or(0, Accepted::version)
    }

    /// The document.
    #[must_use]
    pub const fn accepted(&self) -> Option<&Accepted> {
        self.0.as_ref()
    }

    /// Judges a document against the one that is held, which stays.
    ///
    /// # Errors
    /// [`Refusal`], the first thing that is wrong.
    pub fn judge(&self, document: Verified<HostNetworks>, whose: &Whose) -> Result<Judgement, Refusal> {
        let document = document.into_inner();
        if document.node != whose.node {
            return Err(Refusal::OtherNode(document.node));
        }
        if document.issuer != whose.issuer {
            return Err(Refusal::OtherIssuer(document.issuer.chars().take(ECHO_MAX).collect()));
        }
        let (offered, held) = (document.version, self.version());
        match &self.0 {
            Some(last) if last.document == document => return Ok(Judgement::Known),
            Some(_) if offered == held => return Err(Refusal::TwoContents(offered)),
            Some(_) | None if offered <= held => return Err(Refusal::WentBack { offered, held }),
            Some(_) | None => {}
        }
        Accepted::new(document, &whose.place).map(Judgement::Newer)
    }

    /// Holds a document from now on.
    pub fn take(&mut self, accepted: Accepted) {
        self.0 = Some(accepted);
    }
}

/// The longest text of a refused document that is repeated.
const ECHO_MAX: usize = 200;

// === impl Accepted ===

impl Accepted {
    // INVARIANT: a host can have it, routes of its own aside.
    fn new(document: HostNetworks, place: &Place) -> Result<Self, Refusal> {
        let wanted = Wanted::of(place, &document)?;
        wanted.check()?;
        Ok(Self { document, wanted })
    }

    /// The version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.document.version
    }

    /// All of it, as it was signed.
    #[must_use]
    pub const fn document(&self) -> &HostNetworks {
        &self.document
    }

    /// Where the control plane is, and what it may reach.
    #[must_use]
    pub const fn control_plane(&self) -> &ControlPlane {
        self.wanted.control_plane()
    }

    /// The tenants' networks, by number.
    #[must_use]
    pub fn tenants(&self) -> &[TenantNetwork] {
        self.wanted.tenants()
    }

    /// What a tenant may use of the host.
    #[must_use]
    pub fn quota(&self, tenant: TenantId) -> Option<wire::networks::Quota> {
        self.document.tenants.iter().find(|found| found.tenant == tenant).map(|found| found.quota)
    }

    /// The tenants whose flows pass.
    pub fn live(&self) -> impl Iterator<Item = TenantId> + '_ {
        self.tenants().iter().filter(|tenant| tenant.live).map(|tenant| tenant.tenant)
    }
}

// === impl Refusal ===

impl Refusal {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Notary(refusal) => refusal.code(),
            Self::OtherNode(_) => "networks.other_node",
            Self::OtherIssuer(_) => "networks.other_issuer",
            Self::WentBack { .. } => "networks.version_back",
            Self::TwoContents(_) => "networks.two_contents",
            Self::Number(_) => "networks.number",
            Self::Unsound(_) => "networks.unsound",
        }
    }
}

/// Opens an envelope: what it holds is what one of `keys` has signed.
///
/// # Errors
/// [`Refusal::Notary`].
pub fn open(envelope: &[u8], keys: &KeySet) -> Result<Verified<HostNetworks>, Refusal> {
    let signed = SignedNetworks::read(envelope).map_err(NetworksRefusal::from)?;
    Ok(verify_networks(Unverified::new(signed), |kid| keys.find(kid))?)
}
