//! Where something changed: found out often, so it must cost next to nothing while nothing does.
//!
//! The kernel counts changes of tables and tells of changes of links, addresses and routes. Of most settings it tells
//! nobody: those are read, a part of them in each round.

use super::NetworksError;
use super::reading::{name_of, open};
use host::network::keeper::{Generation, Generations, Keeper};
use host::network::sysctl::Held;
use host::network::{Namespace, Watch};
use network::{Namespace as Place, Topology};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often it is looked.
pub(super) const ROUND: Duration = Duration::from_millis(100);

/// After how many rounds every setting was read, so that a change is found, repaired and told within a second.
const ROUNDS: usize = 8;

/// What is looked at.
#[derive(Debug, Default)]
pub(super) struct Eyes {
    places: BTreeMap<Place, Eye>,
    names: Option<(i64, i64)>,
    round: usize,
    /// Whether the router's tables changed by our own doing since that place was marked.
    is_ours: bool,
}

/// What is looked at in one namespace.
#[derive(Debug)]
struct Eye {
    changes: Changes,
    settings: Vec<(Held, String)>,
}

/// How changes of a namespace are counted, and how many there were when it was last read.
#[derive(Debug)]
enum Changes {
    /// By the keeper.
    Kept(Option<Generation>),
    /// Here.
    Watched { namespace: Namespace, watch: Watch, seen: u64 },
}

impl Eyes {
    /// Where something changed since it was last marked. Everything that is looked at, if the kernel does not answer.
    pub(super) fn look(&mut self, now: Generations) -> BTreeSet<Place> {
        self.round = (self.round + 1) % ROUNDS;
        let round = self.round;
        let changed = self.places.iter_mut().filter_map(|(place, eye)| {
            let changed = eye.has_changed(*place, now) || eye.is_set_otherwise(round);
            changed.then_some(*place)
        });
        changed.collect()
    }

    /// Takes note that the router's tables change by our own doing.
    pub(super) const fn we_change_tables(&mut self) {
        self.is_ours = true;
    }

    /// Whether the router's tables changed since that place was marked, and not by our own doing.
    pub(super) fn did_somebody_change_tables(&self, now: Generations) -> bool {
        if self.is_ours {
            return false;
        }
        match self.places.get(&Place::Router).map(|eye| &eye.changes) {
            Some(Changes::Kept(Some(seen))) => seen.tables != now.router.tables,
            Some(Changes::Kept(None) | Changes::Watched { .. }) | None => false,
        }
    }

    /// Whether a name was added or removed since [`Eyes::mark_names`].
    pub(super) fn are_names_changed(&self) -> bool {
        Namespace::names_changed_at() != self.names
    }

    /// Everything that is looked at.
    pub(super) fn places(&self) -> BTreeSet<Place> {
        self.places.keys().copied().collect()
    }

    /// Takes note of the names, before they are read.
    pub(super) fn mark_names(&mut self) {
        self.names = Namespace::names_changed_at();
    }

    /// Takes note of the changes of a place, before it is read.
    pub(super) async fn mark(
        &mut self,
        place: Place,
        topology: &Topology,
        now: Generations,
        host: &Namespace,
        keeper: &Keeper,
    ) -> Result<(), NetworksError> {
        let before = self.places.remove(&place);
        let Some(expected) = topology.namespaces.get(&place) else { return Ok(()) };
        let namespace = match open(place, host, keeper).await {
            Ok(namespace) => namespace,
            // Not there: nothing to look at, and its name is looked at elsewhere.
            Err(NetworksError::Namespace(_)) => return Ok(()),
            Err(other) => return Err(other),
        };
        let sysctls: Vec<(String, String)> =
            expected.sysctls.iter().map(|(path, value)| (path.clone(), value.clone())).collect();
        let has_watch = matches!(place, Place::ControlPlane | Place::Tenant(_));
        let old = before.map(|eye| eye.changes).filter(|changes| changes.is_of(&namespace));
        let needs_watch = has_watch && old.is_none();
        let (settings, watch) = namespace
            .enter(move |inside| {
                // A setting that is not there is drift, and read as such.
                let held = sysctls
                    .into_iter()
                    .filter_map(|(path, value)| Some((Held::open(inside, path.parse().ok()?).ok()?, value)));
                let watch = needs_watch.then(|| Watch::open(inside)).transpose();
                (held.collect(), watch)
            })
            .await?;
        let changes = match (has_watch, watch?, old) {
            (true, Some(watch), _) => Changes::Watched { namespace, watch, seen: 0 },
            (true, None, Some(old)) => old,
            (true, None, None) | (false, ..) => Changes::Kept(None),
        };
        let mut eye = Eye { changes, settings };
        eye.mark(place, now);
        self.is_ours &= place != Place::Router;
        self.places.insert(place, eye);
        Ok(())
    }

    /// Looks away from what is to go: whoever watches a namespace holds it.
    pub(super) fn look_away(&mut self, place: Place) {
        self.places.remove(&place);
    }
}

impl Eye {
    fn has_changed(&mut self, place: Place, now: Generations) -> bool {
        match &mut self.changes {
            Changes::Kept(seen) => *seen != generation(place, now),
            Changes::Watched { namespace, watch, seen } => {
                let is_named = name_of(place).is_some_and(|name| namespace.stands_at(&name));
                !is_named || watch.changes().map_or(true, |changes| changes != *seen)
            }
        }
    }

    fn is_set_otherwise(&self, round: usize) -> bool {
        let due = self.settings.iter().skip(round).step_by(ROUNDS);
        due.into_iter().any(|(held, value)| !held.is(value).unwrap_or(false))
    }

    fn mark(&mut self, place: Place, now: Generations) {
        match &mut self.changes {
            Changes::Kept(seen) => *seen = generation(place, now),
            Changes::Watched { watch, seen, .. } => *seen = watch.changes().unwrap_or(u64::MAX),
        }
    }
}

impl Changes {
    fn is_of(&self, other: &Namespace) -> bool {
        match self {
            Self::Kept(_) => false,
            Self::Watched { namespace, .. } => namespace.is_same_as(other).unwrap_or(false),
        }
    }
}

const fn generation(place: Place, now: Generations) -> Option<Generation> {
    match place {
        Place::Router => Some(now.router),
        Place::Host => Some(now.host),
        Place::ControlPlane | Place::Tenant(_) => None,
    }
}
