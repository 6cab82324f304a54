//! Every control, by its stable id, in the order of the control list.

/// What a control belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Network security.
    Net,
    /// Authentication and authorization.
    Iam,
    /// Signed execution plans.
    Plan,
    /// Data protection.
    Data,
    /// Metering signatures.
    Meter,
    /// Runtime protection.
    Run,
    /// Alarms.
    Det,
    /// Incident response.
    Ir,
    /// GDPR, HIPAA, SOC 2.
    Compliance,
    /// Good practice and audits.
    Ops,
}

/// Whether this release makes a control's promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Release {
    /// It does, and has a check for it.
    Built,
    /// Not yet.
    NotBuilt,
}

/// One promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Its id.
    pub id: ControlId,
    /// What it belongs to.
    pub group: Group,
    /// Whether this release makes it.
    pub release: Release,
    /// What is promised.
    pub promise: &'static str,
}

/// Says that a text is no control's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a control; `PLAN-1` is one")]
pub struct UnknownControl(String);

/// All controls.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue;

impl Group {
    /// The group's heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Net => "Network security",
            Self::Iam => "Authentication and authorization",
            Self::Plan => "Signed execution plans",
            Self::Data => "Data protection",
            Self::Meter => "Metering signatures",
            Self::Run => "Runtime protection",
            Self::Det => "Alarms",
            Self::Ir => "Incident response",
            Self::Compliance => "GDPR, HIPAA, SOC 2",
            Self::Ops => "Good practice and audits",
        }
    }
}

impl Catalogue {
    /// Every control, in the order of the control list.
    #[must_use]
    pub const fn all() -> &'static [Control] {
        CONTROLS
    }

    /// The control with that id, as text.
    ///
    /// # Errors
    /// [`UnknownControl`] if there is none.
    pub fn find(id: &str) -> Result<&'static Control, UnknownControl> {
        let control = CONTROLS.iter().find(|control| control.id.as_str() == id);
        control.ok_or_else(|| UnknownControl(id.chars().take(ECHO_MAX).collect()))
    }
}

/// The longest part of an unknown id that an error repeats.
const ECHO_MAX: usize = 32;

impl core::fmt::Display for ControlId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::str::FromStr for ControlId {
    type Err = UnknownControl;

    fn from_str(text: &str) -> Result<Self, UnknownControl> {
        Catalogue::find(text).map(|control| control.id)
    }
}

macro_rules! controls {
    ($($name:ident = $id:literal, $group:ident, $release:ident, $promise:literal;)*) => {
        /// A control's id. The texts are stable: code, stored evidence and reports use them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ControlId { $(#[doc = $promise] $name,)* }

        impl ControlId {
            /// The id as text, such as `PLAN-1`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// The whole entry.
            #[must_use]
            pub const fn control(self) -> &'static Control {
                match self {
                    $(Self::$name => &Control {
                        id: Self::$name,
                        group: Group::$group,
                        release: Release::$release,
                        promise: $promise,
                    },)*
                }
            }
        }

        const CONTROLS: &[Control] = &[$(*ControlId::$name.control(),)*];
    };
}

controls! {
    Net1 = "NET-1", Net, Built,
        "Each tenant has its own private network 10.(100+N).0.0/16, N from 1 to 155 on one host, never shared.";
    Net2 = "NET-2", Net, Built,
        "Into a data plane: only the control plane, only tcp/5678.";
    Net3 = "NET-3", Net, Built,
        "Out of a data plane: only tcp/443, to the control plane and the internet.";
    Net4 = "NET-4", Net, Built,
        "Nothing from the internet comes in; SSH is denied in every direction.";
    Net5 = "NET-5", Net, Built,
        "Plans travel one way, from the control plane to the data plane; a data plane reaches nothing of the control plane but its public API on 443.";
    Net6 = "NET-6", Net, NotBuilt,
        "A web application firewall stands before every control-plane route.";
    Net7 = "NET-7", Net, NotBuilt,
        "Rate limits, connection caps, slow-request timeouts and load shedding keep the control plane answering.";
    Net8 = "NET-8", Net, Built,
        "The actual firewall and network state equals the declared one; drift is reported within a minute.";
    Iam1 = "IAM-1", Iam, NotBuilt,
        "People sign in to the Admin Panel through an Identity Provider.";
    Iam2 = "IAM-2", Iam, NotBuilt,
        "Access tokens are RS256 JWTs of one hour with sub, email, email_verified and user_groups.";
    Iam3 = "IAM-3", Iam, NotBuilt,
        "Refresh tokens last 30 days in a protected cookie, rotate at each use, and their reuse revokes the family.";
    Iam4 = "IAM-4", Iam, NotBuilt,
        "Every user account has a second factor, TOTP or passkey; no session without it.";
    Iam5 = "IAM-5", Iam, NotBuilt,
        "Roles carry the least privilege; what no rule allows is denied.";
    Iam6 = "IAM-6", Iam, NotBuilt,
        "Workspaces are linked by OAuth with minimal scopes, state and PKCE; tokens are sealed, refreshed, revoked.";
    Iam7 = "IAM-7", Iam, NotBuilt,
        "No machine credential is older than 90 days; warnings from day 75.";
    Iam8 = "IAM-8", Iam, NotBuilt,
        "Brute force is slowed and seen.";
    Plan1 = "PLAN-1", Plan, Built,
        "Each plan carries an ES256 JWT with issuer, subject, audience, at most 5 minutes of life and the SHA-256 hash of the plan.";
    Plan2 = "PLAN-2", Plan, Built,
        "Public keys come from a JWKS endpoint and rotate with overlap; no plan fails while they do.";
    Plan3 = "PLAN-3", Plan, Built,
        "A data plane verifies key, signature, expiry, plan hash, algorithm, type, issuer, subject and audience before it runs a plan.";
    Plan4 = "PLAN-4", Plan, Built,
        "A plan runs at most once.";
    Data1 = "DATA-1", Data, Built,
        "Database tables are encrypted at rest with AES-256.";
    Data2 = "DATA-2", Data, NotBuilt,
        "Objects are encrypted with AES-256, one data key per object.";
    Data3 = "DATA-3", Data, NotBuilt,
        "Data-plane volumes are encrypted with AES-256, one key per tenant.";
    Data4 = "DATA-4", Data, NotBuilt,
        "Secrets are encrypted with AES-256, versioned, and readable only by whom a policy names.";
    Data5 = "DATA-5", Data, NotBuilt,
        "Logs are kept in segments sealed with AES-256, tamper-evident.";
    Data6 = "DATA-6", Data, NotBuilt,
        "Keys form one platform-managed hierarchy with versions, rotation without downtime, and destruction.";
    Data7 = "DATA-7", Data, Built,
        "TLS 1.3 only, with AES_128_GCM_SHA256, AES_256_GCM_SHA384 and CHACHA20_POLY1305_SHA256 in this order.";
    Meter1 = "METER-1", Meter, Built,
        "Each heartbeat carries a 64-byte Ed25519 signature, base64, over its exact bytes.";
    Meter2 = "METER-2", Meter, Built,
        "A monotonic counter allows no replay and no double count, shows gaps, and survives crashes.";
    Meter3 = "METER-3", Meter, Built,
        "Each heartbeat's Unix time is checked against the window of its receipt.";
    Meter4 = "METER-4", Meter, Built,
        "A sidecar's private key is born in it and never leaves it; its public key is enrolled once.";
    Run1 = "RUN-1", Run, NotBuilt,
        "The sidecar detects an attached debugger.";
    Run2 = "RUN-2", Run, NotBuilt,
        "The sidecar verifies the hash of its own binary.";
    Run3 = "RUN-3", Run, NotBuilt,
        "The sidecar checks its UID.";
    Run4 = "RUN-4", Run, NotBuilt,
        "The sidecar checks its parent process.";
    Run5 = "RUN-5", Run, NotBuilt,
        "Protected resources can be changed only by the platform's own automation, whatever was granted.";
    Run6 = "RUN-6", Run, NotBuilt,
        "Threats are detected continuously over all tenants; severe findings alert.";
    Det1 = "DET-1", Det, NotBuilt,
        "More than 50 failed authentications in 5 minutes raise an alarm.";
    Det2 = "DET-2", Det, NotBuilt,
        "More than 0 tamper detections raise an alarm.";
    Det3 = "DET-3", Det, NotBuilt,
        "More than 100 000 API requests in 5 minutes raise an alarm.";
    Det4 = "DET-4", Det, Built,
        "A certificate that nears its expiry and was not renewed raises an alarm of severity Low.";
    Ir1 = "IR-1", Ir, NotBuilt,
        "Incidents are answered by severity: Critical in 15 min, High in 1 h, Medium in 4 h, Low in 24 h.";
    Ir2 = "IR-2", Ir, NotBuilt,
        "Incidents go from detection to review through every stage; each step is audited, containment contains.";
    Ir3 = "IR-3", Ir, NotBuilt,
        "Alerts, runbooks and on-call are automated around the clock.";
    Gdpr1 = "GDPR-1", Compliance, NotBuilt,
        "Right of access: an export endpoint, complete and machine-readable.";
    Gdpr2 = "GDPR-2", Compliance, NotBuilt,
        "Right to erasure: a cascading deletion endpoint with a certificate.";
    Gdpr3 = "GDPR-3", Compliance, NotBuilt,
        "Outcomes hold no personal data.";
    Gdpr4 = "GDPR-4", Compliance, NotBuilt,
        "A tenant pinned to a region is placed and stored only there.";
    Gdpr5 = "GDPR-5", Compliance, NotBuilt,
        "Breach notification is automated, with the 72-hour clock.";
    Hipaa1 = "HIPAA-1", Compliance, NotBuilt,
        "The services used meet the technical safeguards.";
    Soc21 = "SOC2-1", Compliance, NotBuilt,
        "CC6.1, CC6.6, CC7.2, CC7.3 and CC8.1 are each backed by live controls.";
    Ops1 = "OPS-1", Ops, NotBuilt,
        "Reviews, updates, scans, recovery tests, audits and penetration tests are scheduled, reminded, recorded.";
    Ops2 = "OPS-2", Ops, Built,
        "No secret is in the repository or in logs.";
    Ops3 = "OPS-3", Ops, Built,
        "All input is validated; bad input gets a clear error and changes nothing.";
    Ops4 = "OPS-4", Ops, NotBuilt,
        "Backup and restore work.";
    Ops5 = "OPS-5", Ops, NotBuilt,
        "Tenants see their quota, anomalies and own audit log, keep strong credentials, and can report a concern.";
    Ops6 = "OPS-6", Ops, NotBuilt,
        "One command scans access policies, firewall rules and audit log for compliance.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_id_is_there_once_and_finds_its_control() {
        let ids: BTreeSet<_> = Catalogue::all().iter().map(|control| control.id.as_str()).collect();
        assert_eq!(ids.len(), 57);
        for control in Catalogue::all() {
            assert_eq!(Catalogue::find(control.id.as_str()), Ok(control));
            assert_eq!(control.id.to_string().parse(), Ok(control.id));
            assert_eq!(control.id.control(), control);
            assert!(control.promise.ends_with('.') && !control.promise.contains(".."), "{}", control.promise);
        }
    }

    #[test]
    fn ids_count_up_within_their_prefix_and_groups_stay_together() {
        let mut groups: Vec<_> = Catalogue::all().iter().map(|control| control.group).collect();
        assert!(groups.is_sorted());
        groups.dedup();
        assert_eq!(groups.len(), 10);
        let mut last = ("", 0);
        for control in Catalogue::all() {
            let (prefix, number) = control.id.as_str().split_once('-').unwrap();
            let number: u32 = number.parse().unwrap();
            assert_eq!(number, if prefix == last.0 { last.1 + 1 } else { 1 }, "{}", control.id);
            last = (prefix, number);
        }
    }

    #[test]
    fn this_release_makes_exactly_these_promises() {
        let built = Catalogue::all().iter().filter(|control| control.release == Release::Built);
        let built: Vec<_> = built.map(|control| control.id.as_str()).collect();
        let expected = "NET-1 NET-2 NET-3 NET-4 NET-5 NET-8 PLAN-1 PLAN-2 PLAN-3 PLAN-4 DATA-1 DATA-7 METER-1 METER-2 METER-3 METER-4 DET-4 OPS-2 OPS-3";
        assert_eq!(built.join(" "), expected);
    }

    #[test]
    fn an_unknown_id_is_refused() {
        for id in ["", "PLAN-5", "plan-1", "PLAN-01", "PLAN-1 "] {
            assert!(Catalogue::find(id).is_err(), "{id}");
        }
    }
}
