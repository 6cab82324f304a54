//! Carries out the engine's steps, in their order.

use super::NetworksError;
use super::reading::{kept_at, name_of, open};
use host::network::keeper::Keeper;
use host::network::{
    Family, Inside, LinkName, Mac, Namespace, NamespaceError, NewRoute, Nft, NftError, RoutingRule, Stack,
    StackError, Tag, VethEnd, sysctl,
};
use network::converge::Step;
use network::{MTU, Namespace as Place, Pair};
use std::collections::BTreeSet;

/// What came of the steps.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The namespaces that are new: whatever ran in one of that name before runs in another.
    pub(super) created: BTreeSet<Place>,
    /// Whether the router counts anew.
    pub(super) recounts: bool,
    /// What failed, and where. What else was to be done there was left undone.
    pub(super) failed: Vec<(Place, NetworksError)>,
}

/// Says why a step could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The engine gives a name that this system would not.
    #[error(transparent)]
    Name(#[from] host::network::NameError),
    /// Something of the stack cannot be changed.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// A setting cannot be written.
    #[error(transparent)]
    Sysctl(#[from] sysctl::SysctlError),
    /// A foreign table cannot be removed.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// A foreign table's name cannot stand in a command.
    #[error("the table `{0}` has a name that cannot stand in a command: remove it yourself")]
    OddTable(String),
}

/// Carries out `steps`. A failure of the host's or the router's ends it: nothing may come up that they protect. One
/// of another namespace's leaves the rest of that namespace alone.
pub(super) async fn out(steps: &[Step], host: &Namespace, keeper: &Keeper) -> Outcome {
    let mut outcome = Outcome::default();
    for group in steps.chunk_by(|one, two| is_stack(one) && is_stack(two) && one.at() == two.at()) {
        let Some(place) = group.first().map(Step::at) else { continue };
        if outcome.failed.iter().any(|(failed, _)| *failed == place) {
            continue;
        }
        match together(group, place, host, keeper).await {
            Ok(()) => {
                let created = group.iter().filter(|step| matches!(step, Step::Create { .. }));
                outcome.created.extend(created.map(Step::at));
                outcome.recounts |= group
                    .iter()
                    .any(|step| matches!(step, Step::Load { at: Place::Router, recounts: true, .. }));
            }
            Err(error) => {
                outcome.failed.push((place, error));
                if matches!(place, Place::Host | Place::Router) {
                    break;
                }
            }
        }
    }
    outcome
}

/// Whether the step is done inside the namespace that it is about, so that several can be done at one go.
const fn is_stack(step: &Step) -> bool {
    match step {
        Step::Load { .. }
        | Step::Untable { .. }
        | Step::Remove { .. }
        | Step::Create { .. }
        | Step::Wire { .. } => false,
        Step::Unlink { .. }
        | Step::Set { .. }
        | Step::Take { .. }
        | Step::Give { .. }
        | Step::Size { .. }
        | Step::Down { .. }
        | Step::Up { .. }
        | Step::Unroute { .. }
        | Step::Route { .. }
        | Step::Unpolicy { .. }
        | Step::Policy { .. } => true,
    }
}

async fn together(
    group: &[Step],
    place: Place,
    host: &Namespace,
    keeper: &Keeper,
) -> Result<(), NetworksError> {
    match group {
        [Step::Load { at, text, .. }] => load(*at, text.clone(), keeper).await,
        [Step::Untable { table }] => {
            let table = table.clone();
            let router = open(Place::Router, host, keeper).await?;
            Ok(router.enter(move |inside| delete_table(inside, &table)).await??)
        }
        [Step::Remove { namespace }] => remove(*namespace).await,
        [Step::Create { namespace, tag }] => create(*namespace, tag.clone()).await,
        [Step::Wire { pair, tag }] => wire(pair.clone(), tag.clone(), host, keeper).await,
        steps => {
            let steps = steps.to_vec();
            let namespace = open(place, host, keeper).await?;
            let done = namespace.enter(move |inside| {
                let mut stack = Stack::open(inside)?;
                steps.iter().try_for_each(|step| on_stack(inside, &mut stack, step))
            });
            Ok(done.await??)
        }
    }
}

async fn load(at: Place, text: String, keeper: &Keeper) -> Result<(), NetworksError> {
    let place = kept_at(at).ok_or(NetworksError::NoNetwork(at))?;
    keeper.load(place, text).await?;
    Ok(())
}

/// The router's namespace is ours alone, so another table in it is nobody's loss.
fn delete_table(inside: &Inside, table: &str) -> Result<(), StepError> {
    let plain = |word: &str| {
        word.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    match table.split(' ').collect::<Vec<_>>().as_slice() {
        [family, name] if plain(family) && plain(name) => {
            Ok(Nft::open(inside)?.run(&format!("delete table {family} {name}"))?)
        }
        _ => Err(StepError::OddTable(table.chars().take(80).collect())),
    }
}

async fn create(place: Place, tag: String) -> Result<(), NetworksError> {
    let name = name_of(place).ok_or(NetworksError::NoNetwork(place))?;
    let tag: Tag = tag.parse().map_err(StepError::from)?;
    blocking(move || Namespace::create(&name, &tag).map(|_| ())).await
}

async fn remove(place: Place) -> Result<(), NetworksError> {
    let name = name_of(place).ok_or(NetworksError::NoNetwork(place))?;
    blocking(move || Namespace::remove(&name)).await
}

async fn blocking(
    work: impl FnOnce() -> Result<(), NamespaceError> + Send + 'static,
) -> Result<(), NetworksError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)??)
}

async fn wire(pair: Pair, tag: String, host: &Namespace, keeper: &Keeper) -> Result<(), NetworksError> {
    let tag: Tag = tag.parse().map_err(StepError::from)?;
    let end = |name: &str, side| -> Result<VethEnd, StepError> {
        Ok(VethEnd { name: name.parse()?, tag: tag.clone(), mac: mac(pair.outer.0, side), mtu: MTU })
    };
    let (near, far) = (end(&pair.router, 1)?, end(&pair.outer.1, 2)?);
    let other = open(pair.outer.0, host, keeper).await?;
    let router = open(Place::Router, host, keeper).await?;
    let done = router.enter(move |inside| -> Result<(), StepError> {
        Ok(Stack::open(inside)?.create_veth(&near, &far, &other)?)
    });
    Ok(done.await??)
}

/// Locally administered, and the same whenever the pair is made anew: nobody's neighbour table goes stale.
fn mac(outer: Place, side: u8) -> Mac {
    let (kind, number) = match outer {
        Place::Router | Place::Host => (0, 0),
        Place::ControlPlane => (1, 0),
        Place::Tenant(number) => (2, number.value()),
    };
    Mac([0x02, b'p', b'l', kind, number, side])
}

fn on_stack(inside: &Inside, stack: &mut Stack<'_>, step: &Step) -> Result<(), StepError> {
    let link = |name: &str| name.parse::<LinkName>();
    match step {
        Step::Unlink { at: Place::Host, link: name } => stack.delete_link(&link(name)?)?,
        Step::Unlink { link, .. } => stack.evict(link)?,
        Step::Set { path, value, .. } => sysctl::write(inside, &path.parse()?, value)?,
        Step::Take { address, .. } => stack.remove_address(&link(&address.link)?, address.address)?,
        Step::Give { address, .. } => stack.add_address(&link(&address.link)?, address.address)?,
        Step::Size { link: name, mtu, .. } => stack.set_mtu(&link(name)?, *mtu)?,
        Step::Down { link: name, .. } => stack.set_down(&link(name)?)?,
        Step::Up { link: name, .. } => stack.set_up(&link(name)?)?,
        Step::Unroute { route, .. } => stack.evict_route(&host::network::Route {
            destination: route.destination,
            kind: host::network::RouteKind::Unicast,
            table: route.table,
            via: route.via,
            link: (!route.link.is_empty()).then(|| route.link.clone()),
            priority: 0,
        })?,
        Step::Route { route, .. } => stack.add_route(&new_route(route)?)?,
        Step::Unpolicy { policy, .. } => stack.evict_routing_rule(rule(*policy))?,
        Step::Policy { policy, .. } => stack.add_routing_rule(rule(*policy))?,
        Step::Load { .. }
        | Step::Untable { .. }
        | Step::Remove { .. }
        | Step::Create { .. }
        | Step::Wire { .. } => {}
    }
    Ok(())
}

fn new_route(route: &network::Route) -> Result<NewRoute, StepError> {
    let network::Route { destination, via, link, table: _ } = route;
    Ok(NewRoute { destination: *destination, via: *via, link: link.parse()? })
}

const fn rule(policy: network::Policy) -> RoutingRule {
    RoutingRule {
        family: Family::Ipv4,
        priority: policy.priority,
        table: policy.table,
        always: policy.always,
    }
}
