//! What to start, stop and remove: placements as they should be against processes as they are.
//!
//! Where tenants have networks of their own, nothing starts before its tenant's stands, and what has to stop waits
//! a little for its flows to be cut: a tenant is cut off at once, however long its processes take to end.
//!
//! Pure: the shell tells what happened, and carries out the [`Action`]s that come back. All times are on one
//! monotonic scale of the shell's choosing.

use api::placement::{Placement, RunningPlacement};
use std::collections::{BTreeMap, BTreeSet};
use terms::{Name, TenantId, Timestamp};

/// The wait before a process is started again that crashed for the first time: a single crash should hardly be
/// felt, and the wait keeps even that from being a busy loop.
pub const FIRST_RESTART_MS: i64 = 250;

/// The wait after each further crash in a row: doubled each time, from the first to the second.
pub const BACK_OFF_MS: core::ops::RangeInclusive<i64> = 1_000..=30_000;

/// A process that ran this long was healthy: its next crash is a first one again.
pub const HEALTHY_MS: i64 = 60_000;

/// How long the control plane must have answered without a tenant before the tenant's folders are removed.
/// Removing cannot be undone, so one mistaken answer must not be enough.
pub const REMOVE_AFTER_MS: i64 = 60_000;

/// How long what has to stop waits for its flows to be cut: many times what a signed change takes on its way. One
/// that does not come must not keep anybody running.
pub const CUT_WITHIN_MS: i64 = 5_000;

/// One of a tenant's two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Runs the tenant's workflows.
    DataPlane,
    /// Meters the data plane.
    Sidecar,
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a process; tell [`Supervisor::started`] or [`Supervisor::ended`].
    Start(TenantId, Role),
    /// Stop a process, or give up starting it; tell [`Supervisor::ended`].
    Stop(TenantId, Role),
    /// Remove a tenant's folders; tell [`Supervisor::removed`] or [`Supervisor::not_removed`].
    Remove(TenantId),
}

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// It did so by itself, or did not start.
    Crashed {
        /// How often in a row, this time included.
        times: u32,
    },
}

/// What runs on this host, and what should.
#[derive(Debug, Default)]
pub struct Supervisor {
    tenants: BTreeMap<TenantId, Tenant>,
    networks: Networks,
    ending: bool,
}

/// In which networks processes run.
#[derive(Debug, Default)]
enum Networks {
    /// In the host's.
    #[default]
    Host,
    /// Each tenant's in its own. These stand, and let flows pass.
    Own { open: BTreeSet<TenantId> },
}

#[derive(Debug)]
struct Tenant {
    name: Option<Name>,
    place: Place,
    /// Since when it has not been told to run.
    unwanted: Option<Timestamp>,
    /// Whether its processes are in a network that is no more.
    displaced: bool,
    url: Option<String>,
    data_plane: Slot,
    sidecar: Slot,
}

/// What the control plane says of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It did not answer yet.
    Unknown { removable: bool },
    /// The tenant runs here.
    Run,
    /// The tenant belongs here and does not run.
    Halt,
    /// The tenant does not belong here.
    Gone { removable: bool, since: Timestamp, until: Timestamp },
    /// Its folders are being removed.
    Removing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Down { due: Timestamp, crashes: u32 },
    Starting { crashes: u32 },
    Up { pid: u32, since: Timestamp, crashes: u32 },
    Stopping,
}

// === impl Supervisor ===

impl Supervisor {
    /// Begins with the tenants whose folders are on this host. Those that are not `removable` (another node id
    /// ran them) are never removed before they were placed here again.
    #[must_use]
    pub fn new(known: impl IntoIterator<Item = (TenantId, bool)>) -> Self {
        let tenant =
            |(id, removable)| (id, Tenant::new(None, Place::Unknown { removable }, Timestamp::EPOCH));
        let tenants = known.into_iter().map(tenant).collect();
        Self { tenants, networks: Networks::Host, ending: false }
    }

    /// Gives each tenant a network of its own. None stands yet.
    #[must_use]
    pub fn with_own_networks(self) -> Self {
        Self { networks: Networks::Own { open: BTreeSet::new() }, ..self }
    }

    /// Begins with these running, as the control plane last said: it may be away for long.
    pub fn remember(&mut self, running: impl IntoIterator<Item = TenantId>) {
        for id in running {
            let tenant =
                self.tenants.entry(id).or_insert_with(|| Tenant::new(None, Place::Run, Timestamp::EPOCH));
            if let Place::Unknown { .. } = tenant.place {
                tenant.place = Place::Run;
            }
        }
    }

    /// Takes the tenants whose networks stand and let flows pass, from now on and alone.
    pub fn open(&mut self, tenants: BTreeSet<TenantId>) {
        if let Networks::Own { open } = &mut self.networks {
            *open = tenants;
        }
    }

    /// A tenant's network was made anew: what runs is in the old one, and has to start again.
    pub fn displace(&mut self, id: TenantId) {
        if let Some(tenant) = self.tenants.get_mut(&id) {
            tenant.displaced = true;
        }
    }

    /// Takes the control plane's answer: everything that runs here.
    pub fn place(&mut self, placements: &[Placement], now: Timestamp) {
        for tenant in self.tenants.values_mut() {
            tenant.place = tenant.place.absent(now);
        }
        for placement in placements {
            let place = if placement.run { Place::Run } else { Place::Halt };
            let tenant =
                self.tenants.entry(placement.tenant).or_insert_with(|| Tenant::new(None, place, now));
            tenant.name = Some(placement.name.clone());
            // Folders that are being removed now are made anew once they are gone.
            if tenant.place != Place::Removing {
                tenant.place = place;
            }
        }
        for tenant in self.tenants.values_mut() {
            let unwanted = tenant.unwanted.unwrap_or(now);
            tenant.unwanted = (tenant.place != Place::Run).then_some(unwanted);
        }
    }

    /// Stops everything from now on.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// Whether nothing runs.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tenants.values().all(Tenant::is_quiet)
    }

    /// The process runs; a data plane also takes plans at `url`.
    pub fn started(&mut self, id: TenantId, role: Role, pid: u32, url: Option<String>, now: Timestamp) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        if let Role::DataPlane = role {
            tenant.url = url;
        }
        let slot = tenant.slot(role);
        if let Slot::Starting { crashes } = *slot {
            *slot = Slot::Up { pid, since: now, crashes };
        }
    }

    /// The process has ended, or did not start.
    pub fn ended(&mut self, id: TenantId, role: Role, now: Timestamp) -> Ended {
        let Some(tenant) = self.tenants.get_mut(&id) else { return Ended::Stopped };
        if let Role::DataPlane = role {
            tenant.url = None;
        }
        let slot = tenant.slot(role);
        let crashes = match *slot {
            Slot::Stopping | Slot::Down { .. } => {
                *slot = Slot::Down { due: now, crashes: 0 };
                return Ended::Stopped;
            }
            Slot::Up { since, .. } if now.ms_since(since) >= HEALTHY_MS => 1,
            Slot::Up { crashes, .. } | Slot::Starting { crashes } => crashes.saturating_add(1),
        };
        *slot = Slot::Down { due: now.plus_ms(back_off_ms(crashes)), crashes };
        Ended::Crashed { times: crashes }
    }

    /// The tenant's folders are gone.
    pub fn removed(&mut self, id: TenantId) {
        self.tenants.remove(&id);
    }

    /// The tenant's folders could not be removed: the wait begins anew.
    pub fn not_removed(&mut self, id: TenantId, now: Timestamp) {
        if let Some(tenant) = self.tenants.get_mut(&id) {
            tenant.place = Place::Gone { removable: true, since: now, until: now };
        }
    }

    /// What to do now. Each action is given out once.
    pub fn next(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        for (id, tenant) in &mut self.tenants {
            let (may_start, has_flows) = match &self.networks {
                Networks::Host => (true, false),
                Networks::Own { open } => (open.contains(id), open.contains(id)),
            };
            tenant.displaced &= !tenant.is_quiet();
            let wanted = tenant.place == Place::Run && !self.ending;
            if wanted && !tenant.displaced {
                if may_start {
                    tenant.start(*id, now, &mut actions);
                }
                continue;
            }
            if !self.ending && !tenant.displaced && has_flows && tenant.waits_for_the_cut(now) {
                continue;
            }
            tenant.stop(*id, &mut actions);
            if !self.ending && tenant.is_quiet() && tenant.place.is_to_be_removed() {
                tenant.place = Place::Removing;
                actions.push(Action::Remove(*id));
            }
        }
        actions
    }

    /// The name of a tenant, for people who read logs.
    #[must_use]
    pub fn name_of(&self, id: TenantId) -> Option<&Name> {
        self.tenants.get(&id)?.name.as_ref()
    }

    /// Everything that takes plans. A sidecar that is down has process id 0.
    #[must_use]
    pub fn running(&self) -> Vec<RunningPlacement> {
        let placement = |(id, tenant): (&TenantId, &Tenant)| {
            let Slot::Up { pid, .. } = tenant.data_plane else { return None };
            let sidecar_pid = match tenant.sidecar {
                Slot::Up { pid, .. } => pid,
                Slot::Down { .. } | Slot::Starting { .. } | Slot::Stopping => 0,
            };
            Some(RunningPlacement { tenant: *id, url: tenant.url.clone()?, pid, sidecar_pid })
        };
        self.tenants.iter().filter_map(placement).collect()
    }
}

// === impl Tenant ===

impl Tenant {
    fn new(name: Option<Name>, place: Place, now: Timestamp) -> Self {
        let down = Slot::Down { due: now, crashes: 0 };
        Self { name, place, unwanted: None, displaced: false, url: None, data_plane: down, sidecar: down }
    }

    fn slot(&mut self, role: Role) -> &mut Slot {
        match role {
            Role::DataPlane => &mut self.data_plane,
            Role::Sidecar => &mut self.sidecar,
        }
    }

    fn start(&mut self, id: TenantId, now: Timestamp, actions: &mut Vec<Action>) {
        if self.data_plane.start(now) {
            actions.push(Action::Start(id, Role::DataPlane));
        }
        // The first sample needs the socket that a ready data plane has made.
        if self.data_plane.is_up() && self.sidecar.start(now) {
            actions.push(Action::Start(id, Role::Sidecar));
        }
    }

    fn stop(&mut self, id: TenantId, actions: &mut Vec<Action>) {
        if self.data_plane.stop() {
            actions.push(Action::Stop(id, Role::DataPlane));
        }
        // The sidecar goes last, so that what the data plane counted while it drained is metered.
        if self.data_plane.is_down() && self.sidecar.stop() {
            actions.push(Action::Stop(id, Role::Sidecar));
        }
    }

    fn waits_for_the_cut(&self, now: Timestamp) -> bool {
        self.unwanted.is_some_and(|since| now.ms_since(since) < CUT_WITHIN_MS)
    }

    /// Whether neither process runs.
    const fn is_quiet(&self) -> bool {
        self.data_plane.is_down() && self.sidecar.is_down()
    }
}

// === impl Place ===

impl Place {
    /// The same tenant after an answer that does not name it.
    fn absent(self, now: Timestamp) -> Self {
        match self {
            Self::Unknown { removable } => Self::Gone { removable, since: now, until: now },
            Self::Run | Self::Halt => Self::Gone { removable: true, since: now, until: now },
            Self::Gone { removable, since, .. } => Self::Gone { removable, since, until: now },
            Self::Removing => Self::Removing,
        }
    }

    fn is_to_be_removed(self) -> bool {
        match self {
            Self::Gone { removable, since, until } => removable && until.ms_since(since) >= REMOVE_AFTER_MS,
            Self::Unknown { .. } | Self::Run | Self::Halt | Self::Removing => false,
        }
    }
}

// === impl Slot ===

impl Slot {
    const fn is_down(self) -> bool {
        matches!(self, Self::Down { .. })
    }

    const fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// Begins a start, if one is due.
    fn start(&mut self, now: Timestamp) -> bool {
        match *self {
            Self::Down { due, crashes } if now >= due => {
                *self = Self::Starting { crashes };
                true
            }
            Self::Down { .. } | Self::Starting { .. } | Self::Up { .. } | Self::Stopping => false,
        }
    }

    /// Begins a stop, if there is something to stop.
    fn stop(&mut self) -> bool {
        match *self {
            Self::Starting { .. } | Self::Up { .. } => {
                *self = Self::Stopping;
                true
            }
            Self::Down { .. } | Self::Stopping => false,
        }
    }
}

fn back_off_ms(crashes: u32) -> i64 {
    if crashes <= 1 {
        return FIRST_RESTART_MS;
    }
    let doublings = crashes.saturating_sub(2).min(16);
    (BACK_OFF_MS.start() << doublings).min(*BACK_OFF_MS.end())
}

#[cfg(test)]
mod tests {
    use super::Role::{DataPlane, Sidecar};
    use super::*;

    const A: TenantId = TenantId::from_bytes([1; 16]);

    #[test]
    fn a_sidecar_is_started_once_its_data_plane_takes_plans() {
        let mut supervisor = placed();
        assert_eq!(supervisor.next(at(0)), [Action::Start(A, DataPlane)]);
        assert_eq!(supervisor.next(at(1)), []);
        supervisor.started(A, DataPlane, 7, Some("https://127.0.0.1:5678".into()), at(2));
        assert_eq!(supervisor.next(at(2)), [Action::Start(A, Sidecar)]);
        supervisor.started(A, Sidecar, 8, None, at(3));
        let running = supervisor.running();
        assert_eq!((running[0].pid, running[0].sidecar_pid), (7, 8));
    }

    #[test]
    fn a_data_plane_is_stopped_before_its_sidecar() {
        let mut supervisor = running();
        supervisor.place(&[placement(false)], at(10));
        assert_eq!(supervisor.next(at(10)), [Action::Stop(A, DataPlane)]);
        assert_eq!(supervisor.next(at(11)), []);
        assert_eq!(supervisor.ended(A, DataPlane, at(12)), Ended::Stopped);
        assert_eq!(supervisor.next(at(12)), [Action::Stop(A, Sidecar)]);
        supervisor.ended(A, Sidecar, at(13));
        assert!(supervisor.is_idle());
        assert_eq!(supervisor.next(at(999_999_999)), []);
    }

    #[test]
    fn a_process_that_keeps_crashing_waits_longer_each_time_up_to_thirty_seconds() {
        let mut supervisor = placed();
        let mut now = 0;
        for expected in [250, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(supervisor.next(at(now)), [Action::Start(A, DataPlane)]);
            assert!(matches!(supervisor.ended(A, DataPlane, at(now)), Ended::Crashed { .. }));
            assert_eq!(supervisor.next(at(now + expected - 1)), []);
            now += expected;
        }
    }

    #[test]
    fn a_crash_after_a_minute_of_health_is_a_first_one_again() {
        let mut supervisor = placed();
        for now in [0, 1_000, 3_000] {
            supervisor.next(at(now));
            supervisor.ended(A, DataPlane, at(now));
        }
        assert_eq!(supervisor.next(at(7_000)), [Action::Start(A, DataPlane)]);
        supervisor.started(A, DataPlane, 1, None, at(7_000));
        assert_eq!(supervisor.ended(A, DataPlane, at(7_000 + HEALTHY_MS)), Ended::Crashed { times: 1 });
    }

    #[test]
    fn a_crashed_data_plane_leaves_its_sidecar_running() {
        let mut supervisor = running();
        supervisor.ended(A, DataPlane, at(10));
        assert_eq!(supervisor.next(at(10)), []);
        assert_eq!(supervisor.next(at(10 + FIRST_RESTART_MS)), [Action::Start(A, DataPlane)]);
    }

    #[test]
    fn an_absent_tenant_is_stopped_at_once_and_removed_only_after_answers_for_a_minute() {
        let mut supervisor = running();
        supervisor.place(&[], at(10));
        assert_eq!(supervisor.next(at(10)), [Action::Stop(A, DataPlane)]);
        supervisor.ended(A, DataPlane, at(11));
        supervisor.next(at(11));
        supervisor.ended(A, Sidecar, at(12));
        assert_eq!(supervisor.next(at(10 + REMOVE_AFTER_MS)), [], "no answer came since");
        supervisor.place(&[], at(10 + REMOVE_AFTER_MS));
        assert_eq!(supervisor.next(at(10 + REMOVE_AFTER_MS)), [Action::Remove(A)]);
        supervisor.removed(A);
        assert_eq!(supervisor.next(at(999_999)), []);
    }

    #[test]
    fn folders_of_another_node_id_are_never_removed() {
        let mut supervisor = Supervisor::new([(A, false)]);
        for now in [0, REMOVE_AFTER_MS, 10 * REMOVE_AFTER_MS] {
            supervisor.place(&[], at(now));
            assert_eq!(supervisor.next(at(now)), []);
        }
    }

    #[test]
    fn a_start_that_is_no_longer_wanted_is_given_up() {
        let mut supervisor = placed();
        supervisor.next(at(0));
        supervisor.end();
        assert_eq!(supervisor.next(at(1)), [Action::Stop(A, DataPlane)]);
        supervisor.started(A, DataPlane, 7, None, at(2));
        assert!(!supervisor.is_idle());
        assert_eq!(supervisor.ended(A, DataPlane, at(3)), Ended::Stopped);
        assert!(supervisor.is_idle());
    }

    #[test]
    fn with_networks_of_their_own_nothing_starts_before_its_network_stands() {
        let mut supervisor = Supervisor::default().with_own_networks();
        supervisor.place(&[placement(true)], at(0));
        assert_eq!(supervisor.next(at(999_999)), []);
        supervisor.open([A].into());
        assert_eq!(supervisor.next(at(999_999)), [Action::Start(A, DataPlane)]);
        supervisor.open(BTreeSet::new());
        supervisor.started(A, DataPlane, 7, None, at(999_999));
        assert_eq!(supervisor.next(at(999_999)), [], "what runs goes on, and nothing joins it");
    }

    #[test]
    fn what_has_to_stop_waits_for_its_flows_to_be_cut_but_not_for_ever() {
        for placements in [vec![placement(false)], vec![]] {
            let mut supervisor = running_in_its_own_network();
            supervisor.place(&placements, at(10));
            assert_eq!(supervisor.next(at(10)), []);
            supervisor.open(BTreeSet::new());
            assert_eq!(supervisor.next(at(11)), [Action::Stop(A, DataPlane)]);

            let mut supervisor = running_in_its_own_network();
            supervisor.place(&placements, at(10));
            supervisor.place(&placements, at(10 + CUT_WITHIN_MS - 1));
            assert_eq!(supervisor.next(at(10 + CUT_WITHIN_MS - 1)), []);
            assert_eq!(supervisor.next(at(10 + CUT_WITHIN_MS)), [Action::Stop(A, DataPlane)]);
        }
    }

    #[test]
    fn the_end_of_the_node_waits_for_no_cut() {
        let mut supervisor = running_in_its_own_network();
        supervisor.end();
        assert_eq!(supervisor.next(at(10)), [Action::Stop(A, DataPlane)]);
    }

    #[test]
    fn a_tenant_whose_network_was_made_anew_starts_again_in_order() {
        let mut supervisor = running_in_its_own_network();
        supervisor.displace(A);
        assert_eq!(supervisor.next(at(10)), [Action::Stop(A, DataPlane)]);
        supervisor.ended(A, DataPlane, at(11));
        assert_eq!(supervisor.next(at(11)), [Action::Stop(A, Sidecar)]);
        supervisor.ended(A, Sidecar, at(12));
        assert_eq!(supervisor.next(at(12)), [Action::Start(A, DataPlane)]);
    }

    #[test]
    fn what_ran_before_runs_again_without_an_answer_and_no_longer_than_until_one_says_otherwise() {
        let mut supervisor = Supervisor::new([(A, true)]);
        supervisor.remember([A]);
        assert_eq!(supervisor.next(at(0)), [Action::Start(A, DataPlane)]);
        supervisor.place(&[placement(false)], at(1));
        assert_eq!(supervisor.next(at(1)), [Action::Stop(A, DataPlane)]);
        supervisor.remember([A]);
        assert_eq!(supervisor.next(at(2)), [], "an answer counts for more than a memory");
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    fn placement(run: bool) -> Placement {
        Placement { tenant: A, name: "demo".parse().unwrap(), run }
    }

    fn placed() -> Supervisor {
        let mut supervisor = Supervisor::default();
        supervisor.place(&[placement(true)], at(0));
        supervisor
    }

    fn running() -> Supervisor {
        started(placed())
    }

    fn running_in_its_own_network() -> Supervisor {
        let mut supervisor = placed().with_own_networks();
        supervisor.open([A].into());
        started(supervisor)
    }

    fn started(mut supervisor: Supervisor) -> Supervisor {
        supervisor.next(at(0));
        supervisor.started(A, DataPlane, 7, Some("https://127.0.0.1:5678".into()), at(0));
        supervisor.next(at(0));
        supervisor.started(A, Sidecar, 8, None, at(0));
        supervisor
    }
}
