//! What is seen of tenant networks: probes through the kernel, and how a host compares with what it should be.

/// Tenant networks, as their hosts' nodes probed them from inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    /// Tenants whose network was to be probed.
    pub tenants: u64,
    /// Those of them that no host's networks hold: without a place yet.
    pub unplaced: Vec<String>,
    /// Each host that has tenants.
    pub hosts: Vec<ProbedHost>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbedHost {
    /// Its node.
    pub node: String,
    /// Its networks that the control plane gave away: number and tenant.
    pub numbers: Vec<(u8, String)>,
    /// What its probes brought, or why there are none.
    pub probes: Result<Vec<Probes>, String>,
}

/// Probes of one kind that prove one control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probes {
    /// The control's id.
    pub control: String,
    /// From where to where.
    pub way: String,
    /// Whether they are to get through.
    pub allowed: bool,
    /// How many were tried.
    pub tried: u64,
    /// How many of them came to what was expected.
    pub held: u64,
    /// Those that did not, in words.
    pub mismatches: Vec<String>,
}

/// NET-8: each host against what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftWatch {
    /// The hosts that have networks.
    pub hosts: Vec<WatchedHost>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedHost {
    /// Its node.
    pub node: String,
    /// The version of its networks that the control plane signed last.
    pub desired: u64,
    /// The version that it says it has.
    pub applied: u64,
    /// Milliseconds since it last compared its kernel with it; none if it never did.
    pub compared_ms_ago: Option<i64>,
    /// Differences found since its node started.
    pub found: u64,
    /// Those that are there now, in words.
    pub open: Vec<String>,
    /// Differences that were told as open and have no open alarm.
    pub unalarmed: Vec<String>,
}
