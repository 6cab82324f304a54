//! A model of the supervisor: whatever happens in whatever order, what it decides is safe, and it does decide.

use api::placement::Placement;
use node::supervise::{
    Action, BACK_OFF_MS, CUT_WITHIN_MS, Ended, FIRST_RESTART_MS, HEALTHY_MS, REMOVE_AFTER_MS, Role,
    Supervisor,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use terms::{TenantId, Timestamp};

/// Tenants in play. The last one's folders are another node's.
const TENANTS: [TenantId; 3] = [tenant(1), tenant(2), FOREIGN];
const FOREIGN: TenantId = tenant(9);

const ROLES: [Role; 2] = [Role::DataPlane, Role::Sidecar];

/// What may happen to a node.
#[derive(Debug, Clone)]
enum Step {
    /// The control plane answers: for each tenant nothing, or whether it runs.
    Answer([Option<bool>; 3]),
    Wait(i64),
    /// The process with this number, of those that begin, is up.
    Started(usize),
    /// The process with this number, of those that live, ends.
    Ended(usize),
    /// The removal with this number, of those under way, ends like this.
    Removed(usize, bool),
    /// Of each tenant, whether its network stands and lets flows pass.
    Open([bool; 3]),
    /// This tenant's network is made anew.
    Renewed(usize),
    End,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => any::<[Option<bool>; 3]>().prop_map(Step::Answer),
        3 => prop_oneof![Just([Some(true); 3]), Just([None; 3])].prop_map(Step::Answer),
        5 => prop_oneof![0..2_000_i64, 20_000..70_000_i64].prop_map(Step::Wait),
        9 => any::<usize>().prop_map(Step::Started),
        6 => any::<usize>().prop_map(Step::Ended),
        3 => any::<(usize, bool)>().prop_map(|(n, gone)| Step::Removed(n, gone)),
        5 => prop_oneof![any::<[bool; 3]>(), Just([true; 3])].prop_map(Step::Open),
        2 => (0..3_usize).prop_map(Step::Renewed),
    ];
    (prop::collection::vec(step, 1..200), any::<bool>()).prop_map(|(mut steps, ends)| {
        let middle = steps.len() / 2;
        if ends {
            steps.insert(middle, Step::End);
        }
        steps
    })
}

proptest! {
    #[test]
    fn whatever_happens_the_supervisor_starts_stops_and_removes_only_what_it_may(
        steps in steps(),
        own_networks in any::<bool>(),
        remembered in any::<[bool; 3]>(),
    ) {
        let mut host = Host::new(own_networks, remembered);
        for step in steps {
            host.take(&step);
            host.act();
            host.check();
        }
        host.drain();
    }
}

/// The host as it really is.
struct Host {
    supervisor: Supervisor,
    now: i64,
    ending: bool,
    /// Whose networks stand; none if there are none.
    open: Option<BTreeSet<TenantId>>,
    tenants: BTreeMap<TenantId, Real>,
}

/// One tenant as it really is.
#[derive(Debug, Default)]
struct Real {
    data_plane: Process,
    sidecar: Process,
    /// What the last answer said, or the node's own memory; none before the first.
    answer: Option<Option<bool>>,
    /// Since when no answer said that it runs.
    unwanted: Option<i64>,
    /// Whether its processes are in a network that is no more.
    displaced: bool,
    /// The first and the last of the present run of answers that did not name it.
    absent: Option<(i64, i64)>,
    /// Whether its folders are this node's.
    ours: bool,
    removing: bool,
}

#[derive(Debug, Default)]
struct Process {
    life: Option<Life>,
    /// When it last crashed, and how often in a row.
    crash: Option<(i64, u32)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Life {
    up_since: Option<i64>,
    told_to_stop: bool,
}

impl Host {
    fn new(own_networks: bool, remembered: [bool; 3]) -> Self {
        let mut tenants: BTreeMap<_, _> = [(FOREIGN, Real::default())].into();
        let mut supervisor = Supervisor::new([(FOREIGN, false)]);
        if own_networks {
            supervisor = supervisor.with_own_networks();
        }
        let remembered = TENANTS.into_iter().zip(remembered).filter_map(|(id, runs)| runs.then_some(id));
        for id in remembered {
            supervisor.remember([id]);
            tenants.insert(id, Real { answer: Some(Some(true)), ours: true, ..Real::default() });
        }
        let open = own_networks.then(BTreeSet::new);
        Self { supervisor, now: 0, ending: false, open, tenants }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Answer(answer) => self.answer(answer),
            Step::Wait(ms) => self.now += ms,
            Step::Started(n) => {
                if let Some((id, role)) = self.pick(n, |life| life.up_since.is_none()) {
                    self.started(id, role);
                }
            }
            Step::Ended(n) => {
                if let Some((id, role)) = self.pick(n, |_| true) {
                    self.ended(id, role);
                }
            }
            Step::Removed(n, gone) => {
                let under_way: Vec<_> =
                    self.tenants.iter().filter(|(_, t)| t.removing).map(|(id, _)| *id).collect();
                if !under_way.is_empty() {
                    self.removed(under_way[n % under_way.len()], gone);
                }
            }
            Step::Open(open) => {
                let open = TENANTS.into_iter().zip(open).filter_map(|(id, open)| open.then_some(id));
                let open: BTreeSet<_> = open.collect();
                self.supervisor.open(open.clone());
                self.open = self.open.as_ref().map(|_| open);
            }
            Step::Renewed(n) => {
                self.supervisor.displace(TENANTS[n]);
                if let Some(real) = self.tenants.get_mut(&TENANTS[n]) {
                    real.displaced = !real.is_quiet();
                }
            }
            Step::End => {
                self.ending = true;
                self.supervisor.end();
            }
        }
    }

    fn answer(&mut self, answer: [Option<bool>; 3]) {
        let named = TENANTS.into_iter().zip(answer);
        let placements: Vec<_> = named
            .clone()
            .filter_map(|(tenant, run)| Some(Placement { tenant, name: "demo".parse().unwrap(), run: run? }))
            .collect();
        self.supervisor.place(&placements, at(self.now));
        for (id, run) in named {
            if run.is_some() {
                self.tenants.entry(id).or_default();
            }
            let Some(real) = self.tenants.get_mut(&id) else { continue };
            real.answer = Some(run);
            real.unwanted = (run != Some(true)).then_some(real.unwanted.unwrap_or(self.now));
            match run {
                None => real.absent = Some((real.absent.map_or(self.now, |(first, _)| first), self.now)),
                Some(_) => {
                    real.absent = None;
                    real.ours = true;
                }
            }
        }
    }

    fn pick(&self, n: usize, fits: fn(&Life) -> bool) -> Option<(TenantId, Role)> {
        let all =
            self.tenants.iter().flat_map(|(id, real)| ROLES.map(|role| (*id, role, real.process(role))));
        let fitting: Vec<_> = all
            .filter(|(_, _, process)| process.life.as_ref().is_some_and(fits))
            .map(|(id, role, _)| (id, role))
            .collect();
        (!fitting.is_empty()).then(|| fitting[n % fitting.len()])
    }

    fn started(&mut self, id: TenantId, role: Role) {
        let now = self.now;
        self.life(id, role).up_since = Some(now);
        let url = matches!(role, Role::DataPlane).then(|| url(id));
        self.supervisor.started(id, role, pid(role), url, at(now));
    }

    fn ended(&mut self, id: TenantId, role: Role) {
        let now = self.now;
        let said = self.supervisor.ended(id, role, at(now));
        let process = self.tenants.get_mut(&id).unwrap().process_mut(role);
        let life = process.life.take().unwrap();
        if life.told_to_stop {
            assert_eq!(said, Ended::Stopped);
            process.crash = None;
            let real = self.tenants.get_mut(&id).unwrap();
            real.displaced &= !real.is_quiet();
            return;
        }
        let was_healthy = life.up_since.is_some_and(|since| now - since >= HEALTHY_MS);
        let before = process.crash.map_or(0, |(_, times)| times);
        let times = if was_healthy { 1 } else { before + 1 };
        process.crash = Some((now, times));
        assert_eq!(said, Ended::Crashed { times });
        let real = self.tenants.get_mut(&id).unwrap();
        real.displaced &= !real.is_quiet();
    }

    fn removed(&mut self, id: TenantId, gone: bool) {
        if gone {
            self.tenants.remove(&id);
            self.supervisor.removed(id);
            return;
        }
        let real = self.tenants.get_mut(&id).unwrap();
        real.removing = false;
        // Whatever was answered meanwhile, the next answer says what becomes of it.
        (real.answer, real.absent) = (Some(None), Some((self.now, self.now)));
        real.unwanted = Some(real.unwanted.unwrap_or(self.now));
        self.supervisor.not_removed(id, at(self.now));
    }

    /// Carries out what the supervisor decides; each decision must be allowed.
    fn act(&mut self) {
        for action in self.supervisor.next(at(self.now)) {
            match action {
                Action::Start(id, role) => self.start(id, role),
                Action::Stop(id, role) => self.stop(id, role),
                Action::Remove(id) => self.remove(id),
            }
        }
        assert_eq!(self.supervisor.next(at(self.now)), [], "each action is given out once");
    }

    fn start(&mut self, id: TenantId, role: Role) {
        assert!(!self.ending, "nothing starts at the end");
        let now = self.now;
        assert!(
            self.open.as_ref().is_none_or(|open| open.contains(&id)),
            "nothing starts without its network"
        );
        let real = self.tenants.get_mut(&id).unwrap();
        assert_eq!(real.answer, Some(Some(true)), "only what has to run is started");
        assert!(!real.displaced, "nothing joins what is in a network that is no more");
        assert!(!real.removing, "nothing starts in folders that are being removed");
        if let Role::Sidecar = role {
            let life = real.data_plane.life.expect("a sidecar needs a data plane");
            assert!(life.up_since.is_some() && !life.told_to_stop);
        }
        let process = real.process_mut(role);
        assert!(process.life.is_none(), "no process runs twice");
        if let Some((crashed, times)) = process.crash {
            let least = if times == 1 { FIRST_RESTART_MS } else { *BACK_OFF_MS.start() };
            assert!(now - crashed >= least, "a crashed process waits");
        }
        process.life = Some(Life::default());
    }

    fn stop(&mut self, id: TenantId, role: Role) {
        let (ending, waited) = (self.ending, self.has_waited_for_the_cut(id));
        let real = self.tenants.get_mut(&id).unwrap();
        assert!(
            ending || real.displaced || real.answer != Some(Some(true)),
            "what has to run is not stopped"
        );
        assert!(ending || real.displaced || waited, "flows are cut first, unless that takes too long");
        if let Role::Sidecar = role {
            assert!(real.data_plane.life.is_none(), "a sidecar goes last");
        }
        let life = real.process_mut(role).life.as_mut().expect("only what lives is stopped");
        assert!(!life.told_to_stop);
        life.told_to_stop = true;
    }

    fn remove(&mut self, id: TenantId) {
        assert!(!self.ending, "nothing is removed at the end");
        let real = self.tenants.get_mut(&id).unwrap();
        assert!(real.ours, "another node's folders stay");
        assert!(real.data_plane.life.is_none() && real.sidecar.life.is_none(), "nothing runs in them");
        let (first, last) = real.absent.expect("only what is placed nowhere is removed");
        assert!(last - first >= REMOVE_AFTER_MS, "one mistaken answer removes nothing");
        assert!(!real.removing);
        real.removing = true;
    }

    /// Whether there is nothing to be cut, or nobody did in time.
    fn has_waited_for_the_cut(&self, id: TenantId) -> bool {
        let has_flows = self.open.as_ref().is_some_and(|open| open.contains(&id));
        let unwanted = self.tenants[&id].unwanted;
        !has_flows || unwanted.is_none_or(|since| self.now - since >= CUT_WITHIN_MS)
    }

    /// What must hold between decisions.
    fn check(&self) {
        for (id, real) in &self.tenants {
            let wanted = real.answer == Some(Some(true)) && !self.ending && !real.removing;
            let may_start = !real.displaced && self.open.as_ref().is_none_or(|open| open.contains(id));
            let crash = real.data_plane.crash.map_or(i64::MIN, |(crashed, _)| crashed);
            if wanted && may_start && self.now >= crash.saturating_add(*BACK_OFF_MS.end()) {
                assert!(real.data_plane.life.is_some(), "what has to run runs, or waits after a crash");
            }
            let told = |process: &Process| process.life.is_none_or(|life| life.told_to_stop);
            let must_go = !wanted && (self.ending || self.has_waited_for_the_cut(*id));
            if must_go || real.displaced {
                assert!(told(&real.data_plane), "what must not run is told so");
                assert!(real.data_plane.life.is_some() || told(&real.sidecar));
            }
            let is_gone = real.absent.is_some_and(|(first, last)| last - first >= REMOVE_AFTER_MS);
            if real.ours && real.is_quiet() && is_gone && !self.ending {
                assert!(real.removing, "what belongs nowhere is removed in the end");
            }
        }
        let up = |process: &Process| process.life.is_some_and(|l| l.up_since.is_some() && !l.told_to_stop);
        let expected = self.tenants.iter().filter(|(_, real)| up(&real.data_plane)).map(|(id, real)| {
            let sidecar_pid = if up(&real.sidecar) { pid(Role::Sidecar) } else { 0 };
            (*id, url(*id), pid(Role::DataPlane), sidecar_pid)
        });
        let reported = self.supervisor.running();
        let reported = reported.into_iter().map(|r| (r.tenant, r.url, r.pid, r.sidecar_pid));
        assert_eq!(reported.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        let alive = self.pick(0, |_| true).is_some();
        assert_eq!(self.supervisor.is_idle(), !alive);
    }

    /// At the end everything stops within two rounds: data planes, then sidecars.
    fn drain(&mut self) {
        self.take(&Step::End);
        for _ in 0..2 {
            self.act();
            while let Some((id, role)) = self.pick(0, |life| life.told_to_stop) {
                self.ended(id, role);
            }
        }
        assert!(self.supervisor.is_idle());
    }

    fn life(&mut self, id: TenantId, role: Role) -> &mut Life {
        self.tenants.get_mut(&id).unwrap().process_mut(role).life.as_mut().unwrap()
    }
}

impl Real {
    fn is_quiet(&self) -> bool {
        self.data_plane.life.is_none() && self.sidecar.life.is_none()
    }

    fn process(&self, role: Role) -> &Process {
        match role {
            Role::DataPlane => &self.data_plane,
            Role::Sidecar => &self.sidecar,
        }
    }

    fn process_mut(&mut self, role: Role) -> &mut Process {
        match role {
            Role::DataPlane => &mut self.data_plane,
            Role::Sidecar => &mut self.sidecar,
        }
    }
}

const fn tenant(n: u8) -> TenantId {
    TenantId::from_bytes([n; 16])
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn url(id: TenantId) -> String {
    format!("https://{id}.test")
}

const fn pid(role: Role) -> u32 {
    match role {
        Role::DataPlane => 7,
        Role::Sidecar => 8,
    }
}
