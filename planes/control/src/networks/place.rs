//! Finding a place for a tenant: a node that takes tenants and was heard of lately, and a number of its host.

use super::numbers::{self, HostNumbers};
use crate::app::App;
use crate::refusal::{Answer, Refusal};
use api::network::{Driver, RouteOnHost};
use api::placement::PLACEMENTS_MAX;
use network::{AllocationError, HostRoute};
use std::sync::Arc;
use store::{Inhabited, NodeState, PlacementRow, Tx};
use terms::{Action, Actor, EventId, NodeId, Permit, Scope, TenantId, Timestamp};
use wire::event::{EventKind, EventOutcome, Plane, SecurityEvent};

/// How long ago a node may have been heard of and still get tenants: several of its reports.
const SEEN_MS: i64 = 60_000;

/// Finds places for tenants, inside a transaction: writers take turns, so no number is given away twice.
pub(crate) struct Places {
    app: Arc<App>,
    permit: Permit,
    quarantine_ms: i64,
    now: Timestamp,
}

/// What came of looking for a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// The tenant is there now.
    On(NodeId),
    /// No node takes tenants now: it is placed as soon as one asks.
    NoNode,
    /// No node that takes tenants has room; this is what the one with the fewest tenants says.
    NoRoom(AllocationError),
}

impl Found {
    /// Whether a place was found.
    pub(crate) const fn is_place(&self) -> bool {
        match self {
            Self::On(_) => true,
            Self::NoNode | Self::NoRoom(_) => false,
        }
    }
}

impl Places {
    /// For changes at `now`, by the platform itself: whoever asked has the permit for what it asked for.
    pub(crate) fn new(app: &Arc<App>, now: Timestamp) -> Answer<Self> {
        let permit = app.own_permit(Action::ReadNode, Scope::Platform)?;
        let quarantine_ms = app.config.networks.quarantine_ms;
        Ok(Self { app: Arc::clone(app), permit, quarantine_ms, now })
    }

    /// Puts a tenant that is nowhere on a node.
    pub(crate) async fn place(&self, tx: &mut Tx, tenant: TenantId) -> Answer<Found> {
        self.find(tx, tenant, None).await
    }

    /// Puts a tenant on another node than `from`, or leaves it there.
    async fn move_off(&self, tx: &mut Tx, tenant: TenantId, from: NodeId) -> Answer<Found> {
        let found = self.find(tx, tenant, Some(from)).await?;
        if found.is_place() {
            self.numbers(tx, from).await?.release(tx, tenant, self.now).await?;
            tx.workloads().forget_data_plane(&self.permit, tenant).await?;
            tx.event(self.told(tenant, from, &found)?);
        }
        Ok(found)
    }

    /// Takes a tenant off its node for good.
    pub(crate) async fn leave(&self, tx: &mut Tx, tenant: TenantId) -> Answer<()> {
        let Some(placement) = tx.placements().of(&self.permit, tenant).await? else { return Ok(()) };
        self.numbers(tx, placement.node).await?.release(tx, tenant, self.now).await?;
        Ok(tx.placements().take_off(&self.permit, tenant).await?)
    }

    /// Puts whoever is nowhere on a node, and whoever is on one that is drained on another. Says who moved.
    pub(crate) async fn settle(&self, tx: &mut Tx) -> Answer<Vec<TenantId>> {
        for tenant in tx.placements().unplaced(&self.permit).await? {
            self.place(tx, tenant).await?;
        }
        let mut moved = Vec::new();
        for node in tx.nodes().all(&self.permit).await? {
            if node.node.state == NodeState::Draining && node.tenants > 0 {
                let found = self.move_all(tx, node.node.id).await?.into_iter();
                moved.extend(found.filter(|(_, found)| found.is_place()).map(|(tenant, _)| tenant));
            }
        }
        Ok(moved)
    }

    /// Moves each tenant of a node to another one, as far as there is room; an event tells of each that moved.
    pub(crate) async fn move_all(&self, tx: &mut Tx, from: NodeId) -> Answer<Vec<(TenantId, Found)>> {
        let mut found = Vec::new();
        for placed in tx.placements().on(&self.permit, from).await? {
            let tenant = placed.tenant.id;
            found.push((tenant, self.move_off(tx, tenant, from).await?));
        }
        Ok(found)
    }

    /// The event that tells what became of a tenant which was to leave a node.
    pub(crate) fn told(&self, tenant: TenantId, from: NodeId, found: &Found) -> Answer<SecurityEvent> {
        let (outcome, reason) = match found {
            Found::On(_) => (EventOutcome::Success, "moved"),
            Found::NoNode => (EventOutcome::Failure, "no_other_node"),
            Found::NoRoom(error) => (EventOutcome::Failure, error.code()),
        };
        Ok(SecurityEvent {
            id: EventId::mint(self.now, self.app.entropy()?),
            time: self.now,
            plane: Plane::Control,
            kind: EventKind::NodeChanged,
            actor: Actor::System.to_string(),
            resource: format!("node/{from}"),
            tenant: Some(tenant),
            outcome,
            reason: reason.to_owned(),
            address: None,
            count: 1,
        })
    }

    /// Gives each tenant of a host that has networks its number; whoever gets none goes elsewhere, or nowhere for
    /// now. Says who had to go.
    pub(crate) async fn number_all(
        &self,
        tx: &mut Tx,
        node: NodeId,
    ) -> Answer<Vec<(TenantId, AllocationError)>> {
        let routes = self.routes(tx, node).await?;
        let mut numbers = self.numbers(tx, node).await?;
        let mut gone = Vec::new();
        for placed in tx.placements().on(&self.permit, node).await? {
            let tenant = placed.tenant.id;
            if placed.number.is_some() {
                continue;
            }
            if let Err(error) = numbers.allocate(tx, tenant, &routes, self.now).await? {
                tx.placements().take_off(&self.permit, tenant).await?;
                tx.workloads().forget_data_plane(&self.permit, tenant).await?;
                gone.push((tenant, error));
            }
        }
        Ok(gone)
    }

    async fn find(&self, tx: &mut Tx, tenant: TenantId, from: Option<NodeId>) -> Answer<Found> {
        let nodes = tx.nodes().all(&self.permit).await?;
        let mut why_not = None;
        for node in candidates(&nodes, from, self.now) {
            match self.room(tx, tenant, node).await? {
                Ok(()) => {
                    let (node, since) = (node.node.id, self.now);
                    let row = PlacementRow { tenant, node, former_node: from, since };
                    tx.placements().put(&self.permit, &row).await?;
                    return Ok(Found::On(node));
                }
                Err(error) => why_not = why_not.or(Some(error)),
            }
        }
        Ok(why_not.map_or(Found::NoNode, Found::NoRoom))
    }

    /// Makes room for a tenant on a node.
    async fn room(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        node: &Inhabited,
    ) -> Answer<Result<(), AllocationError>> {
        // Numbers run out first on a host with networks, and say why.
        if node.driver.as_deref().and_then(super::driver_of) != Some(Driver::Linux) {
            let full = node.tenants as usize >= PLACEMENTS_MAX;
            return Ok(if full { Err(AllocationError::HostFull) } else { Ok(()) });
        }
        let routes = self.routes(tx, node.node.id).await?;
        self.numbers(tx, node.node.id).await?.allocate(tx, tenant, &routes, self.now).await
    }

    async fn numbers(&self, tx: &mut Tx, node: NodeId) -> Answer<HostNumbers<'_>> {
        HostNumbers::load(tx, &self.permit, node, self.quarantine_ms).await
    }

    async fn routes(&self, tx: &mut Tx, node: NodeId) -> Answer<Vec<HostRoute>> {
        let Some(host) = tx.networks().host(&self.permit, node).await? else { return Ok(Vec::new()) };
        let reported: Vec<RouteOnHost> = serde_json::from_str(&host.routes).map_err(Refusal::internal)?;
        numbers::routes(&reported).map_err(Refusal::internal)
    }
}

/// The nodes that a tenant may come to, fewest tenants first.
fn candidates(nodes: &[Inhabited], but: Option<NodeId>, now: Timestamp) -> Vec<&Inhabited> {
    let mut fit: Vec<&Inhabited> = nodes.iter().filter(|node| takes(node, now)).collect();
    fit.retain(|node| Some(node.node.id) != but);
    fit.sort_by_key(|node| (node.tenants, node.node.id));
    fit
}

/// Whether a node takes tenants now.
fn takes(node: &Inhabited, now: Timestamp) -> bool {
    node.node.state == NodeState::Active && now.ms_since(node.node.last_seen) <= SEEN_MS
}

/// Whether settling could change anything: somebody waits for a place, and some node may have one.
pub(crate) fn is_worth_settling(nodes: &[Inhabited], unplaced: bool, now: Timestamp) -> bool {
    let stranded = |node: &Inhabited| node.node.state == NodeState::Draining && node.tenants > 0;
    let roomy = |node: &Inhabited| takes(node, now) && (node.tenants as usize) < PLACEMENTS_MAX;
    (unplaced || nodes.iter().any(stranded)) && nodes.iter().any(roomy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::NodeRow;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_795_507_200_000);

    #[test]
    fn the_node_with_the_fewest_tenants_comes_first_and_the_oldest_of_equals() {
        let nodes = [node(1, 7), node(2, 3), node(3, 3), node(4, 9)];
        assert_eq!(chosen(&nodes, None), [2, 3, 1, 4]);
        assert_eq!(chosen(&nodes, Some(2)), [3, 1, 4]);
    }

    #[test]
    fn a_node_that_is_drained_or_was_not_heard_of_gets_nobody() {
        let mut nodes = [node(1, 0), node(2, 0), node(3, 0)];
        nodes[0].node.state = NodeState::Draining;
        nodes[1].node.last_seen = NOW.plus_ms(-SEEN_MS - 1);
        nodes[2].node.last_seen = NOW.plus_ms(-SEEN_MS);
        assert_eq!(chosen(&nodes, None), [3]);
        assert_eq!(chosen(&nodes[..2], None), [] as [u8; 0]);
    }

    #[test]
    fn settling_is_tried_only_where_somebody_waits_and_a_node_may_have_room() {
        let (free, full) = (node(1, 154), node(2, 155));
        let mut drained = node(3, 1);
        drained.node.state = NodeState::Draining;
        let rows = [
            (vec![free.clone()], false, false),
            (vec![free.clone()], true, true),
            (vec![full.clone()], true, false),
            (vec![drained.clone(), free], false, true),
            (vec![drained.clone(), full], false, false),
            (vec![drained], false, false),
        ];
        for (nodes, unplaced, worth) in rows {
            assert_eq!(is_worth_settling(&nodes, unplaced, NOW), worth, "{nodes:?} {unplaced}");
        }
    }

    fn chosen(nodes: &[Inhabited], but: Option<u8>) -> Vec<u8> {
        let but = but.map(|n| NodeId::from_bytes([n; 16]));
        candidates(nodes, but, NOW).iter().map(|node| node.node.id.as_bytes()[0]).collect()
    }

    fn node(n: u8, tenants: u32) -> Inhabited {
        let (id, state) = (NodeId::from_bytes([n; 16]), NodeState::Active);
        Inhabited { node: NodeRow { id, enrolled_at: NOW, last_seen: NOW, state }, tenants, driver: None }
    }
}
