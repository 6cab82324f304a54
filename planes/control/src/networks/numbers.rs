//! The numbers of one host: rows on one side, the engine that judges on the other.

use crate::refusal::{Answer, Refusal};
use api::network::RouteOnHost;
use api::{Code, Problem};
use network::{AllocationError, Holding, HostRoute, NetworkNumber, Numbers, ReleaseError};
use std::collections::BTreeSet;
use store::{NumberRow, NumberState, StoreError, Tx};
use terms::{NodeId, Permit, TenantId, Timestamp};

/// Stands for a tenant that was deleted: nothing but its number is left, which nobody may mistake for free.
const FORGOTTEN: TenantId = TenantId::from_bytes([0; 16]);

/// The numbers of one host, inside a transaction.
pub(super) struct HostNumbers<'a> {
    permit: &'a Permit,
    node: NodeId,
    numbers: Numbers,
    rows: Vec<NumberRow>,
}

impl<'a> HostNumbers<'a> {
    /// Reads them.
    pub(super) async fn load(
        tx: &mut Tx,
        permit: &'a Permit,
        node: NodeId,
        quarantine_ms: i64,
    ) -> Answer<Self> {
        let rows = tx.placements().numbers(permit, node).await?;
        let mut stored = Vec::with_capacity(rows.len());
        for row in &rows {
            let number = NetworkNumber::try_from(u32::from(row.number)).map_err(Refusal::internal)?;
            stored.push((number, holding(row)?));
        }
        let numbers = Numbers::new(quarantine_ms, stored).map_err(Refusal::internal)?;
        Ok(Self { permit, node, numbers, rows })
    }

    /// Gives `tenant` a number, unless it has one or none may be had.
    pub(super) async fn allocate(
        &mut self,
        tx: &mut Tx,
        tenant: TenantId,
        routes: &[HostRoute],
        now: Timestamp,
    ) -> Answer<Result<(), AllocationError>> {
        if self.numbers.number_of(tenant).is_some() {
            return Ok(Ok(()));
        }
        match self.numbers.allocate(tenant, now, routes) {
            Ok(number) => {
                self.keep(tx, number, Some(tenant), NumberState::Held, now).await?;
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// Ends the tenant's hold, if it has one.
    pub(super) async fn release(&mut self, tx: &mut Tx, tenant: TenantId, now: Timestamp) -> Answer<()> {
        match self.numbers.release(tenant) {
            Ok(number) => self.keep(tx, number, Some(tenant), NumberState::Leaving, now).await,
            Err(ReleaseError::NoNumber(_)) => Ok(()),
            Err(error @ (ReleaseError::InUse(..) | ReleaseError::NothingToRemove(_))) => {
                Err(Refusal::internal(error))
            }
        }
    }

    /// Takes note that networks are proven gone, of those that a tenant left: the number of one that is yet to come to
    /// be is in use, and one that the host was last told to have is not gone for good.
    pub(super) async fn gone(
        &mut self,
        tx: &mut Tx,
        gone: &[u8],
        wanted: &BTreeSet<u8>,
        now: Timestamp,
    ) -> Answer<()> {
        for number in gone.iter().filter(|number| !wanted.contains(number)) {
            let number = NetworkNumber::try_from(u32::from(*number)).map_err(Refusal::internal)?;
            let row = self.rows.iter().find(|row| row.number == number.value()).copied();
            match (self.numbers.removed(number, now), row) {
                (Ok(()), Some(row)) if row.state == NumberState::Leaving => {
                    self.keep(tx, number, row.tenant, NumberState::Resting, now).await?;
                }
                // It rests already, is free, or in use: nothing that is said of it changes that.
                (Ok(()) | Err(ReleaseError::NothingToRemove(_) | ReleaseError::InUse(..)), _) => {}
                (Err(error @ ReleaseError::NoNumber(_)), _) => return Err(Refusal::internal(error)),
            }
        }
        Ok(())
    }

    /// Frees the numbers that have rested.
    pub(super) async fn free_rested(&self, tx: &mut Tx, quarantine_ms: i64, now: Timestamp) -> Answer<()> {
        for row in self.rows.iter().filter(|row| has_rested(row, quarantine_ms, now)) {
            tx.placements().free_number(self.permit, self.node, row.number).await?;
        }
        Ok(())
    }

    async fn keep(
        &self,
        tx: &mut Tx,
        number: NetworkNumber,
        tenant: Option<TenantId>,
        state: NumberState,
        since: Timestamp,
    ) -> Answer<()> {
        let row = NumberRow { node: self.node, number: number.value(), tenant, state, since };
        Ok(tx.placements().put_number(self.permit, &row).await?)
    }
}

/// Whether a number is free although its row is still there.
pub(super) fn has_rested(row: &NumberRow, quarantine_ms: i64, now: Timestamp) -> bool {
    row.state == NumberState::Resting && now.ms_since(row.since) >= quarantine_ms
}

/// The host's routes, as its node reported them.
pub(super) fn routes(reported: &[RouteOnHost]) -> Result<Vec<HostRoute>, String> {
    let route = |route: &RouteOnHost| {
        let destination = route.destination.parse().map_err(|_| route.destination.clone())?;
        Ok(HostRoute { destination, link: route.link.clone() })
    };
    reported.iter().map(route).collect()
}

/// The problem that says why a tenant has no network.
pub(crate) fn refusal(error: &AllocationError) -> Refusal {
    let code = match error {
        AllocationError::HostFull => Code::HostFull,
        AllocationError::AllResting(_) => Code::AllNetworksResting,
        AllocationError::AllOverlap(_) => Code::AllNetworksOverlap,
        AllocationError::HasNumber { .. }
        | AllocationError::Taken { .. }
        | AllocationError::Resting { .. }
        | AllocationError::Overlaps { .. } => return Refusal::internal(error),
    };
    Problem::new(code).detail(error.to_string()).into()
}

fn holding(row: &NumberRow) -> Answer<Holding> {
    let tenant = row.tenant.unwrap_or(FORGOTTEN);
    match (row.state, row.tenant) {
        (NumberState::Held, None) => Err(StoreError::Corrupt("a number that nobody holds").into()),
        (NumberState::Held, Some(tenant)) => Ok(Holding::Held(tenant)),
        (NumberState::Leaving, _) => Ok(Holding::Leaving(tenant)),
        (NumberState::Resting, _) => Ok(Holding::Resting(tenant, row.since)),
    }
}
