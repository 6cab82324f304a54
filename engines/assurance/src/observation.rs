//! What probes see in the running system: typed values, no verdicts.

mod network;

pub use network::{DriftWatch, Networks, ProbedHost, Probes, WatchedHost};

use terms::Timestamp;

/// What was seen for one control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Nothing: the means to look were absent, for this reason.
    NotRun(String),
    /// That this host or driver cannot hold the promise, for this reason.
    NotEnforced(String),
    /// NET-1 to NET-5: what tenant networks let through.
    Networks(Networks),
    /// NET-8: each host against what it should be.
    Drift(DriftWatch),
    /// PLAN-1: a token as it was sent, decoded.
    PlanToken(PlanToken),
    /// PLAN-2: the key set, and how the last rotation went.
    PlanKeys(PlanKeys),
    /// PLAN-3: the attack table against the plan gate.
    PlanAttacks(Vec<Row>),
    /// PLAN-4: one plan, delivered again and again.
    Replay(Replay),
    /// DATA-1: the database's files and columns.
    Database(Database),
    /// DATA-7: each listener's answers to a scanner.
    Listeners(Vec<Listener>),
    /// METER-1: a heartbeat's signature and what is left of it after bit flips.
    HeartbeatSignature(HeartbeatSignature),
    /// METER-2: the counter rule, tried.
    Counting(Counting),
    /// METER-3: heartbeats at both sides of each bound of the window.
    Window(Vec<Row>),
    /// METER-4: where a sidecar's key is and is not.
    SidecarKey(SidecarKey),
    /// DET-4: certificates and the alarms about them.
    Certificates(CertificateWatch),
    /// OPS-2: a search for known secrets.
    Secrets(SecretSearch),
    /// OPS-3: bad input, and what came of it.
    Inputs(Inputs),
}

/// One try: what should have come of it, and what did. What is let through has the code `ok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was tried.
    pub name: String,
    /// The code that should have come back.
    pub expected: String,
    /// The code that came back.
    pub actual: String,
}

/// A value beside what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub actual: String,
}

/// A plan token as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanToken {
    /// `alg` of its header.
    pub alg: String,
    /// `typ` of its header.
    pub typ: String,
    /// Whether the signature verifies with the key of that `kid` from the JWKS endpoint.
    pub signature_ok: bool,
    /// `iss`, and the control plane's API endpoint.
    pub iss: Seen,
    /// `sub`, and the tenant's id.
    pub sub: Seen,
    /// `aud`, and the SPIFFE id of the tenant's data plane.
    pub aud: Seen,
    /// Seconds from `iat` to `exp`.
    pub lifetime_s: i64,
    /// Bytes of the plan hash.
    pub hash_len: usize,
    /// `plan_hash`, and the SHA-256 over the plan's bytes as they were sent.
    pub hash: Seen,
}

/// The key set around a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanKeys {
    /// How many keys are served.
    pub served: usize,
    /// How many of them are P-256 keys for ES256 whose `kid` is their own thumbprint, and hold nothing private.
    pub sound: usize,
    /// Whether the key that signs now is served.
    pub active_is_served: bool,
    /// Whether it was served before it first signed; true for the first key of all.
    pub active_was_served_ahead: bool,
    /// Whether the set came over TLS, from the address that tokens name as issuer.
    pub from_issuer: bool,
    /// Unexpired plans whose key is no longer served.
    pub orphaned_plans: u64,
    /// Plans that failed because of a key since the last rotation began.
    pub failed_plans: u64,
}

/// One plan, delivered several times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// What was tried, and the answers.
    pub rows: Vec<Row>,
    /// How often the plan was delivered with a valid token.
    pub deliveries: u64,
    /// How often it ran.
    pub runs: u64,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// An encrypted file.
    File(DatabaseFile),
    /// A server, whose files are its operator's.
    Server(DatabaseServer),
}

/// The files of an encrypted database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFile {
    /// What the page cipher says it is; empty if there is none.
    pub cipher: String,
    /// Whether the file opens without the key.
    pub opens_without_key: bool,
    /// Known plaintexts that the database holds.
    pub canaries_stored: u64,
    /// Those of them that were found in its files.
    pub canaries_found: u64,
    /// Bytes of files that were searched, write-ahead log included.
    pub bytes_searched: u64,
}

/// The columns of a database on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseServer {
    /// Columns that hold more than public data.
    pub sensitive_columns: u64,
    /// Those of them that hold a value that was not sealed.
    pub unsealed_columns: u64,
    /// Known plaintexts that the database holds.
    pub canaries_stored: u64,
    /// Those of them that were found in a dump.
    pub canaries_found: u64,
}

/// One TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name or address.
    pub name: String,
    /// Each protocol version that was offered alone and accepted, such as `TLSv1.3`.
    pub versions_accepted: Vec<String>,
    /// Each protocol version that was offered alone and refused.
    pub versions_refused: Vec<String>,
    /// The suites in the order in which the server picked them, offered in the opposite order and one less each
    /// time.
    pub suites: Vec<String>,
}

/// A heartbeat's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatSignature {
    /// Bytes of the signature.
    pub length: usize,
    /// Whether it is canonical base64.
    pub is_base64: bool,
    /// Whether it verifies over the stored bytes.
    pub verifies: bool,
    /// Bits that were flipped in payload and signature, one at a time.
    pub flips_tried: u64,
    /// Those that still verified.
    pub flips_accepted: u64,
}

/// The counter rule, tried with a probe's own sidecar key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counting {
    /// What was tried, and the answers.
    pub rows: Vec<Row>,
    /// What the probe swore to have consumed.
    pub sworn: u64,
    /// What was counted.
    pub counted: u64,
}

/// A sidecar's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarKey {
    /// What came of using an enrolment token a second time.
    pub second_enrolment: Row,
    /// Private sidecar keys that the control plane holds.
    pub private_keys_held: u64,
    /// Mode bits of the sidecar's key file, such as `0600`.
    pub key_file_mode: Seen,
    /// Stored heartbeats that were verified offline.
    pub stored_heartbeats: u64,
    /// Those of them that did not verify.
    pub unverifiable_heartbeats: u64,
}

/// Certificates and the alarms about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateWatch {
    /// When it was looked at.
    pub now: Timestamp,
    /// Every certificate in use.
    pub certificates: Vec<WatchedCertificate>,
    /// The watch with the clock moved: the severity of the alarm, or `ok` if none is raised.
    pub drill: Vec<Row>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedCertificate {
    /// Whose.
    pub subject: String,
    /// When it should have been renewed by: seven days before its end; for one that lives less than that, when its renewal
    /// was due.
    pub renew_by: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whether an alarm about it is open.
    pub alarmed: bool,
}

/// A search for known secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSearch {
    /// How many secrets were looked for.
    pub secrets_sought: u64,
    /// Bytes of logs, output and stored text that were searched.
    pub bytes_searched: u64,
    /// Hosts that their node has searched.
    pub hosts_searched: u64,
    /// Tenants whose zones, data plane and sidecar, were searched.
    pub tenants_searched: u64,
    /// Zones that nobody has searched, and files that could not be read whole.
    pub unread: Vec<String>,
    /// Where one was found; never the secret itself.
    pub found_in: Vec<String>,
}

/// Bad input, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// What was sent, and the problem codes.
    pub rows: Vec<Row>,
    /// A digest over the state before and after.
    pub state: Seen,
}
