//! What a namespace has beside its links: addresses, routes, routing policy, and which links are on.

use super::wires::Wires;
use super::{Draft, Step, is_of_host_link};
use crate::addresses::{HOST_LINK, Namespace};
use crate::topology::{Link, Route, State};

impl Draft<'_> {
    /// Gives `at` what it lacks and takes from it what nothing asked for. Its links are on only after their
    /// addresses, and routes come last: the kernel takes those of a link that is off.
    pub(super) fn dress(&mut self, at: Namespace, expected: &State, wires: &Wires) {
        if self.is_foreign(at) || (at == Namespace::Host && wires.is_host_link_foreign) {
            return;
        }
        let kept = self.kept(at, wires);
        if at == Namespace::Host {
            let is_new = wires.missing.iter().any(|pair| pair.end_in(at) == Some(HOST_LINK));
            self.set_host_link(expected, is_new);
        }
        self.addresses(at, expected, &kept);
        self.links(at, expected, &kept);
        self.routes(at, expected, &kept);
        if at != Namespace::Host {
            let (more, less) =
                (kept.policies.difference(&expected.policies), expected.policies.difference(&kept.policies));
            let more = more.map(|policy| Step::Unpolicy { at, policy: *policy });
            self.plan.steps.extend(more.chain(less.map(|policy| Step::Policy { at, policy: *policy })));
        }
    }

    /// A link that is made anew has none of its settings, whatever its forerunner had.
    fn set_host_link(&mut self, expected: &State, is_new: bool) {
        if is_new {
            let settings = expected.sysctls.iter().filter(|(path, _)| is_of_host_link(path));
            let set = |(path, value): (&String, &String)| Step::Set {
                at: Namespace::Host,
                path: path.clone(),
                value: value.clone(),
            };
            self.plan.steps.extend(settings.map(set));
        } else {
            self.set(Namespace::Host, expected, is_of_host_link);
        }
    }

    fn addresses(&mut self, at: Namespace, expected: &State, kept: &State) {
        let foreign = kept.addresses.difference(&expected.addresses);
        self.plan.steps.extend(foreign.map(|address| Step::Take { at, address: address.clone() }));
        // The kernel gives the loopback its address when it is switched on.
        let missing = expected.addresses.difference(&kept.addresses);
        let missing = missing.filter(|address| match address.link.as_str() {
            "lo" => is_up(kept, "lo"),
            link => kept.links.iter().any(|kept| kept.name == link),
        });
        self.plan.steps.extend(missing.map(|address| Step::Give { at, address: address.clone() }));
    }

    fn links(&mut self, at: Namespace, expected: &State, kept: &State) {
        for Link { name, up, mtu, kind: _ } in &expected.links {
            let Some(seen) = kept.links.iter().find(|link| link.name == *name) else { continue };
            let link = || name.clone();
            if seen.mtu != *mtu {
                self.step(Step::Size { at, link: link(), mtu: *mtu });
            }
            match (seen.up, *up) {
                (false, true) => self.step(Step::Up { at, link: link() }),
                (true, false) => self.step(Step::Down { at, link: link() }),
                (true, true) | (false, false) => (),
            }
        }
    }

    fn routes(&mut self, at: Namespace, expected: &State, kept: &State) {
        let foreign = kept.routes.difference(&expected.routes);
        self.plan.steps.extend(foreign.map(|route| Step::Unroute { at, route: route.clone() }));
        // The network of a link that is switched on comes by itself; and a next hop is found through one.
        let missing: Vec<&Route> = expected.routes.difference(&kept.routes).collect();
        let networks = missing.iter().filter(|route| route.via.is_none() && is_up(kept, &route.link));
        let is_there = |link: &str| kept.links.iter().any(|kept| kept.name == link);
        let hops = missing.iter().filter(|route| route.via.is_some() && is_there(&route.link));
        let steps = networks.chain(hops).map(|route| Step::Route { at, route: (*route).clone() });
        self.plan.steps.extend(steps);
    }
}

fn is_up(state: &State, link: &str) -> bool {
    state.links.iter().any(|seen| seen.name == link && seen.up)
}
