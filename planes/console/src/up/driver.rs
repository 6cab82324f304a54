//! What keeps tenants apart: which driver `up` takes, and whether this machine has the means for it.

use crate::failure::{Exit, Failure, Outcome};
use host::network::{LinkName, Mac, Namespace, NamespaceName, Nft, Stack, Tag, VethEnd};
use network::{ControlPlane, Desired, MTU, Uplink, ruleset};
use serde::{Deserialize, Serialize};

/// What keeps tenants apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Driver {
    /// A network of its own for each tenant, by namespaces and nftables; needs root
    Linux,
    /// Nothing: every data plane listens on this machine's loopback; for trying things out
    Loopback,
}

/// What does not hold without networks.
pub(crate) const NOT_ENFORCED: [&str; 5] = ["NET-1", "NET-2", "NET-3", "NET-4", "NET-5"];

/// What to do without the means for networks.
const WITHOUT: &str = "`--driver loopback` runs without networks, and then NET-1 to NET-5 are not enforced";

/// What marks the namespace that is made to see whether one can be made.
const TAG: &str = "palisade restricted=true purpose=attempt";

impl Driver {
    /// The driver in a word.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Loopback => "loopback",
        }
    }

    /// The one that was asked for; else the one that the state directory was last used with; else what this user can
    /// have.
    ///
    /// # Errors
    /// When networks are wanted and this is not root.
    pub(crate) fn decide(asked: Option<Self>, before: Option<Self>, is_root: bool) -> Outcome<Self> {
        match asked.or(before).unwrap_or(if is_root { Self::Linux } else { Self::Loopback }) {
            Self::Linux if !is_root => Err(unavailable("only root can make networks", "run it as root")),
            chosen => Ok(chosen),
        }
    }

    /// Looks whether this machine lets it be had: what it needs is tried in a namespace that is thrown away.
    ///
    /// # Errors
    /// When it does not; the cause says what is missing.
    pub(crate) fn try_out(self) -> Outcome {
        match self {
            Self::Loopback => Ok(()),
            Self::Linux => try_networks().map_err(|missing| unavailable(&missing, MEND)),
        }
    }
}

/// What may be missing.
const MEND: &str = "install libnftables (Debian, Ubuntu: apt-get install libnftables1), and let this process have \
                    CAP_SYS_ADMIN and CAP_NET_ADMIN (a container needs both, and a kernel with nf_tables)";

fn unavailable(missing: &str, next: &str) -> Failure {
    let cause = format!("this machine gives tenants no networks of their own: {missing}");
    Failure::new(Exit::Failure, "driver_unavailable", cause, format!("{next}; or: {WITHOUT}"))
}

/// Makes two namespaces, a pair of links between them, and in one the rules of a router without tenants; and removes
/// all of it.
fn try_networks() -> Result<(), String> {
    let name = |part: &str| format!("palisade-try-{}-{part}", std::process::id()).parse();
    let (near, far): (NamespaceName, NamespaceName) = (name("a").map_err(said)?, name("b").map_err(said)?);
    let tried = try_between(&near, &far);
    for name in [&near, &far] {
        // What hinders this hindered the attempt too, and was told.
        let _gone = Namespace::remove(name);
    }
    tried
}

fn try_between(near: &NamespaceName, far: &NamespaceName) -> Result<(), String> {
    let tag: Tag = TAG.parse().map_err(said)?;
    let end = |name: &str, last| -> Result<VethEnd, String> {
        let name: LinkName = name.parse().map_err(said)?;
        Ok(VethEnd { name, tag: tag.clone(), mac: Mac([2, 0, 0, 0, 0, last]), mtu: MTU })
    };
    let (one, other) = (end("try0", 1)?, end("try1", 2)?);
    let here = ControlPlane::Here { published: None, reach: Vec::new() };
    let empty = Desired::new(0, here, Uplink::default(), Vec::new(), &[]).map_err(said)?;
    let rules = ruleset::write(&empty).to_nft();
    let (here, there) =
        (Namespace::create(near, &tag).map_err(said)?, Namespace::create(far, &tag).map_err(said)?);
    let tried = here.enter_blocking(|inside| {
        Stack::open(inside).and_then(|mut stack| stack.create_veth(&one, &other, &there)).map_err(said)?;
        Nft::open(inside).and_then(|mut nft| nft.run(&rules)).map_err(said)
    });
    tried.map_err(said)?
}

fn said(error: impl core::error::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_gets_networks_and_nobody_else_unless_asked_otherwise() {
        use Driver::{Linux, Loopback};
        for (asked, before, is_root, chosen) in [
            (None, None, true, Linux),
            (None, None, false, Loopback),
            (Some(Loopback), None, true, Loopback),
            (Some(Loopback), Some(Linux), true, Loopback),
            (None, Some(Loopback), true, Loopback),
            (Some(Linux), Some(Loopback), true, Linux),
        ] {
            assert_eq!(Driver::decide(asked, before, is_root), Ok(chosen), "{asked:?} {before:?} {is_root}");
        }
    }

    #[test]
    fn networks_without_root_are_refused_with_what_to_do_instead() {
        let failure = Driver::decide(Some(Driver::Linux), None, false).unwrap_err();
        assert_eq!(failure.code, "driver_unavailable");
        assert!(failure.next_step.contains("--driver loopback"), "{}", failure.next_step);
        assert!(failure.next_step.contains("NET-1 to NET-5 are not enforced"), "{}", failure.next_step);
    }

    #[test]
    fn an_attempt_leaves_nothing_behind() {
        if !host::process::is_root() {
            return;
        }
        if let Err(failure) = Driver::Linux.try_out() {
            assert_eq!(failure.code, "driver_unavailable", "{failure}");
        }
        let left = Namespace::list().unwrap_or_default();
        let own = format!("palisade-try-{}-", std::process::id());
        assert!(!left.iter().any(|owned| owned.name.as_ref().starts_with(&own)), "{left:?}");
        assert_eq!(Driver::Loopback.try_out(), Ok(()));
    }
}
