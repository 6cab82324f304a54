//! Namespaces that a test makes for itself, and removes whatever happens.

use host::network::{Inside, LinkName, Mac, Namespace, NamespaceName, NewRoute, Nft, Stack, Tag, VethEnd};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What every name of a test's namespace begins with; its process id follows.
const PREFIX: &str = "palisade-trial-";

/// How long an answer may take: a link that was just switched on is dead for a second or two.
pub(crate) const ANSWERED: Duration = Duration::from_secs(60);

/// How long silence is listened to. Something answered on the same wire before, so an answer would come in time.
pub(crate) const SILENT: Duration = Duration::from_millis(700);

/// The namespaces of one test.
pub(crate) struct Site {
    names: Vec<NamespaceName>,
}

impl Site {
    /// A site, or none, and a word about it, where this process or kernel cannot have one.
    pub(crate) fn new() -> Option<Self> {
        if !host::process::is_root() {
            return skipped("this needs root");
        }
        sweep();
        let mut site = Self { names: Vec::new() };
        let usable = site.namespace().enter_blocking(|inside| Nft::open(inside).map(|_| ()));
        match usable {
            Ok(Ok(())) => Some(site),
            Ok(Err(error)) => skipped(&error.to_string()),
            Err(error) => skipped(&error.to_string()),
        }
    }

    /// A name that no other test has.
    pub(crate) fn name(&mut self) -> NamespaceName {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name: NamespaceName = format!("{PREFIX}{}-{count}", std::process::id()).parse().unwrap();
        self.names.push(name.clone());
        name
    }

    /// A namespace with nothing in it.
    pub(crate) fn namespace(&mut self) -> Namespace {
        let name = self.name();
        Namespace::create(&name, &tag()).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for name in &self.names {
            // A failure here must not hide the test's own.
            let _ = Namespace::remove(name);
        }
    }
}

/// Says loudly that nothing was proved.
pub(crate) fn skipped<T>(why: &str) -> Option<T> {
    eprintln!("SKIPPED: {why}");
    None
}

/// Removes what killed runs left behind.
fn sweep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for owned in Namespace::list().unwrap_or_default() {
            let pid = owned.name.as_ref().strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = Namespace::remove(&owned.name);
            }
        }
    });
}

/// The tag of everything here.
pub(crate) fn tag() -> Tag {
    "palisade restricted=true tenant=trial".parse().unwrap()
}

/// A name of a link.
pub(crate) fn link(name: &str) -> LinkName {
    name.parse().unwrap()
}

/// One end of a pair.
pub(crate) fn end(name: &str, last: u8) -> VethEnd {
    VethEnd { name: link(name), tag: tag(), mac: Mac([2, 0, 0, 0, 0, last]), mtu: 1_400 }
}

/// Runs `work` on the network stack of a namespace.
pub(crate) fn on_stack<T: Send>(namespace: &Namespace, work: impl FnOnce(&mut Stack<'_>) -> T + Send) -> T {
    inside(namespace, |inside| work(&mut Stack::open(inside).unwrap()))
}

/// Runs `work` inside a namespace.
pub(crate) fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce(&Inside) -> T + Send) -> T {
    namespace.enter_blocking(work).unwrap()
}

/// Switches a link on with an address, and the loopback beside it.
pub(crate) fn bring_up(namespace: &Namespace, name: &str, address: &str) {
    on_stack(namespace, |stack| {
        stack.set_up(&LinkName::loopback()).unwrap();
        stack.add_address(&link(name), address.parse().unwrap()).unwrap();
        stack.set_up(&link(name)).unwrap();
    });
}

/// Sends everything through `via`.
pub(crate) fn default_route(namespace: &Namespace, name: &str, via: &str) {
    let via: IpAddr = via.parse().unwrap();
    let route = NewRoute { destination: "0.0.0.0/0".parse().unwrap(), via: Some(via), link: link(name) };
    on_stack(namespace, |stack| stack.add_route(&route).unwrap());
}

/// Two namespaces and a wire between them: 192.0.2.1 on `left0`, 192.0.2.2 on `right0`.
pub(crate) fn wired(site: &mut Site) -> (Namespace, Namespace) {
    let (left, right) = (site.namespace(), site.namespace());
    on_stack(&left, |stack| stack.create_veth(&end("left0", 1), &end("right0", 2), &right).unwrap());
    bring_up(&left, "left0", "192.0.2.1/24");
    bring_up(&right, "right0", "192.0.2.2/24");
    (left, right)
}
