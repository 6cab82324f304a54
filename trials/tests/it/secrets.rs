//! Secrets at rest (OPS-2, DATA-1): the files of a used site hold nothing of a tenant's content, and keys and tokens
//! only where each of them belongs.

use crate::search::files_with;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use trials::{Api, Options, Site};

/// Words that stand nowhere else: in a document, an input, an output, and an error.
const CANARIES: [&str; 4] = ["cassowary-document", "hoatzin-input", "kagu-output", "shoebill-error"];

/// Says each of them, and faults if it is asked to.
const WORKFLOW: &str = r#"
document: { dsl: '1.0.0', namespace: trial, name: canaries, version: '1.0.0' }
do:
  - say:
      set:
        word: cassowary-document
        said: '${ .say }'
        output: '${ "kagu-" + "output" }'
        fails: '${ .fails }'
  - pause: { wait: { milliseconds: 20 } }
  - fail:
      if: ${ .fails }
      raise:
        error: { type: https://trial.example/failed, status: 500, title: shoebill-error, detail: '${ .said }' }
"#;

/// The files that hold a private key, a root key or a token, without the tenant's id. Each is its owner's alone.
const OPERATOR_TOKEN: &str = "operator.token";
const METERING_KEY: &str = "meter/metering.key";
const ROOT_KEYS: [&str; 2] = ["control/root.key", "data/root.key"];
const IDENTITIES: [&str; 3] = ["data/identity.pem", "meter/identity.pem", "node/identity.pem"];

/// Where an Ed25519 private key stands in its PKCS #8 form (RFC 8410).
const SEED: std::ops::Range<usize> = 16..48;

#[tokio::test]
async fn no_file_of_a_used_site_holds_content_or_a_secret_that_does_not_belong_there() {
    let mut site = Site::up(Options::default()).await.unwrap();
    let state = State::of(&site).await;
    let token = site.bearer().unwrap().replace("Bearer ", "");
    use_it(&site.api().unwrap()).await;

    // The database's journal is there only while it runs.
    assert!(state.path("control/palisade.db-wal").exists());
    state.assert_holds_no_content();
    state.assert_secrets_are_in_their_files(&token);

    site.stop().await.unwrap();

    state.assert_holds_no_content();
    state.assert_secrets_are_in_their_files(&token);
    assert!(!site.said().contains(&token), "`palisade up` showed the token");
}

/// Runs a workflow to its end and to its fault, and reads all there is to read of both.
async fn use_it(api: &Api) {
    api.apply("demo", WORKFLOW).await.unwrap();
    for fails in [false, true] {
        let input = json!({ "say": "hoatzin-input", "fails": fails }).to_string();
        let started = api.start("demo", "canaries", &input, &format!("fails-{fails}")).await.unwrap();
        let ended = api.end_of("demo", started.id).await.unwrap();
        assert_eq!(ended.state.as_str(), if fails { "faulted" } else { "completed" });
        // An outcome is typed: even an error that quotes the input tells nothing of it.
        assert_tells_nothing(&serde_json::to_string(&ended).unwrap());
        let path = format!("/v1/tenants/demo/executions/{}", started.id);
        let _plan: Value = api.get(&format!("{path}/plan")).await.unwrap();
        if !fails {
            let output: Value = api.get(&format!("{path}/output")).await.unwrap();
            assert_eq!(
                (&output["said"], &output["output"]),
                (&json!("hoatzin-input"), &json!("kagu-output"))
            );
        }
    }
    for list in ["/v1/events", "/v1/alarms", "/v1/audit/entries"] {
        assert_tells_nothing(&Value::Array(api.all(list).await.unwrap()).to_string());
    }
}

fn assert_tells_nothing(text: &str) {
    for canary in CANARIES {
        assert!(!text.contains(canary), "`{canary}` in {text}");
    }
}

/// The state directory of a site with one tenant.
struct State {
    folder: PathBuf,
    /// What the names of the tenant's folders end in.
    suffix: String,
}

impl State {
    async fn of(site: &Site) -> Self {
        let tenant: Value = site.api().unwrap().get("/v1/tenants/demo").await.unwrap();
        Self { folder: site.state(), suffix: format!("-{}", tenant["id"].as_str().unwrap()) }
    }

    /// The path of a file named without the tenant's id.
    fn path(&self, name: &str) -> PathBuf {
        let (folder, file) = name.split_once('/').unwrap_or(("", name));
        let suffix = if ["data", "meter"].contains(&folder) { &*self.suffix } else { "" };
        self.folder.join(format!("{folder}{suffix}")).join(file)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The names, without the tenant's id, of the files that hold `needle` in some form.
    fn holding(&self, needle: impl AsRef<[u8]>) -> BTreeSet<String> {
        let name = |path: &Path| path.strip_prefix(&self.folder).unwrap().display().to_string();
        let files = files_with(&self.folder, needle);
        files.iter().map(|path| name(path).replace(&self.suffix, "")).collect()
    }

    fn assert_holds_no_content(&self) {
        for canary in CANARIES {
            assert_eq!(self.holding(canary), BTreeSet::new(), "`{canary}`");
        }
    }

    fn assert_secrets_are_in_their_files(&self, token: &str) {
        assert_eq!(self.holding(token), names([OPERATOR_TOKEN]));
        assert_eq!(self.holding("PRIVATE KEY-----"), names(IDENTITIES));
        assert_eq!(self.holding(&self.read(METERING_KEY)[SEED]), names([METERING_KEY]));
        for root in ROOT_KEYS {
            let digits = String::from_utf8(self.read(root)).unwrap();
            let bytes: Vec<u8> = (0..digits.len() / 2)
                .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            assert_eq!(self.holding(bytes), names([root]));
        }
        let kept = [OPERATOR_TOKEN, METERING_KEY].into_iter().chain(ROOT_KEYS).chain(IDENTITIES);
        for name in kept {
            let mode = self.path(name).metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}");
        }
    }
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}
