//! Starting and stopping the control plane.

use crate::app::App;
use crate::caller::{OperatorToken, Operators};
use crate::carried::Carried;
use crate::config::{Config, ConfigFault};
use crate::delivery::Dispatcher;
use crate::endings::Endings;
use crate::host_search::HostSearches;
use crate::identity::{IdentityError, PlatformIdentity};
use crate::key_ring::{RingError, Signers};
use crate::metrics::ControlMetrics;
use crate::names::Names;
use crate::rates::Rates;
use crate::sampler::Sampler;
use crate::workflow_cache::WorkflowCache;
use crate::{router, timers};
use axum::middleware::from_fn_with_state;
use host::clock::Clock;
use host::files::{self, DirLock};
use notary::NoteSigner;
use secrecy::SecretString;
use serve::metrics::{ListenerMetrics, Metrics};
use serve::{Listener, ListenerLimits};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Database, OpenError, Store, StoreError};
use terms::{KeyBytes, OperatorId, TrustDomain};
use tokio::sync::watch;
use vault::{Keystore, RootKey};

/// Says why the control plane does not start. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not usable.
    #[error("configuration: {0}")]
    Config(#[from] ConfigFault),
    /// The state directory cannot be used.
    #[error("{0}")]
    File(#[from] files::FileError),
    /// Another process uses the state directory.
    #[error("{0}")]
    Lock(#[from] files::LockError),
    /// The root key's file does not hold a key.
    #[error("`{0}` does not hold a root key (64 hex digits): restore it from your backup")]
    RootKey(String),
    /// The root key's file holds another key than the database was made with.
    #[error("root key file `{}`: {source}", .file.display())]
    OtherRootKey {
        /// The file.
        file: PathBuf,
        /// What the key does not open.
        source: OpenError,
    },
    /// The database does not open.
    #[error("{0}")]
    Open(OpenError),
    /// The database does not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The control plane's certificates cannot be made.
    #[error("{0}")]
    Identity(String),
    /// The signing keys cannot be used.
    #[error("{0}")]
    Keys(String),
    /// An address is taken or not allowed.
    #[error("{0}")]
    Bind(#[from] serve::listener::BindError),
    /// The configured name servers cannot be used.
    #[error("`[names]`: {0}")]
    Names(#[from] resolve::ResolverError),
    /// The kernel gives no entropy.
    #[error("{0}")]
    Entropy(#[from] host::entropy::EntropyError),
}

impl From<IdentityError> for StartError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error.to_string())
    }
}

impl From<RingError> for StartError {
    fn from(error: RingError) -> Self {
        Self::Keys(error.to_string())
    }
}

impl From<serve::tls::TlsError> for StartError {
    fn from(error: serve::tls::TlsError) -> Self {
        Self::Identity(error.to_string())
    }
}

/// Runs the control plane until `stop` resolves.
///
/// # Errors
/// [`StartError`] if it cannot start; nothing was changed then.
pub async fn run(config: Config, stop: impl Future<Output = ()> + Send) -> Result<(), StartError> {
    config.check()?;
    let domain = config.domain()?;
    files::create_private_dir(&config.state_dir)?;
    let _lock: DirLock = files::lock_dir(&config.state_dir)?;
    let api = Listener::bind(config.listen).await?;
    let scrape = Listener::bind(config.metrics_listen).await?;
    let metrics = Metrics::new();
    let app = Arc::new(open(config, domain, &metrics).await?);
    timers::start(&app);
    announce(&app, &api, &scrape)?;
    tracing::info!(url = app.config.public_url, address = %api.local_addr(), "the control plane serves");
    serve_until(&app, api, scrape, metrics, stop).await?;
    app.store.close().await;
    Ok(())
}

async fn open(config: Config, domain: TrustDomain, metrics: &Metrics) -> Result<App, StartError> {
    let clock = Clock::system();
    let keystore = Keystore::new(root_key(&config)?);
    let database = database(&config, &keystore)?;
    let store = Store::open(store::Config::new(database), keystore)
        .await
        .map_err(|error| not_opened(error, &config.root_key_file))?;
    let operators = Operators::default();
    for digest in config.operator_digests()? {
        let operator = OperatorId::from_bytes(first_bytes(&digest));
        operators.accept(digest, OperatorToken { operator, expires_at: None }, clock.now());
    }
    let identity = PlatformIdentity::load(&store, &config, &domain, clock.now()).await?;
    let signers = Signers::load(&store, &config.keys, &clock).await?;
    let log_signer = log_signer(&store, &App::log_origin(&domain)).await?;
    let control_metrics = ControlMetrics::register(metrics);
    control_metrics.wall("zones", config.zones_enforced);
    // Until a node says otherwise.
    control_metrics.wall("networks", false);
    Ok(App {
        rates: Rates::new(&config.rates),
        names: Names::open(config.names.as_ref())?,
        config,
        domain,
        clock,
        store,
        operators,
        identity,
        signers,
        log_signer,
        workflows: WorkflowCache::default(),
        dispatcher: Dispatcher::new(),
        endings: Endings::default(),
        sampler: Sampler::default(),
        metrics: control_metrics,
        host_searches: HostSearches::new(),
        carried: Carried::default(),
        probing: tokio::sync::Mutex::new(()),
    })
}

/// The store knows the key but not its file, and it is the file that somebody has to restore.
fn not_opened(error: OpenError, root_key_file: &Path) -> StartError {
    match error {
        OpenError::WrongKey(_) | OpenError::WrongRoot => {
            StartError::OtherRootKey { file: root_key_file.to_owned(), source: error }
        }
        OpenError::NotADatabase { .. }
        | OpenError::NewerSchema { .. }
        | OpenError::EditedSchema(_)
        | OpenError::NoCipher
        | OpenError::ReadOnly(_)
        | OpenError::NoFolder(_)
        | OpenError::DiskFull
        | OpenError::Locked
        | OpenError::Unreachable(_)
        | OpenError::UnverifiedServer(_)
        | OpenError::OldTls(_)
        | OpenError::Url
        | OpenError::Database(_) => StartError::Open(error),
    }
}

/// An operator is known by its token's digest until people have accounts.
fn first_bytes(digest: &terms::Digest) -> [u8; 16] {
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

fn root_key(config: &Config) -> Result<RootKey, StartError> {
    let text = zeroize::Zeroizing::new(files::read_private(&config.root_key_file, 256)?);
    let refused = || StartError::RootKey(config.root_key_file.display().to_string());
    let mut key = zeroize::Zeroizing::new([0_u8; 32]);
    hex::decode_to_slice(text.trim_ascii(), key.as_mut_slice()).map_err(|_| refused())?;
    Ok(RootKey::new(KeyBytes::new(*key)))
}

/// The page key comes from the root, so that one file is all that has to be kept.
fn database(config: &Config, keystore: &Keystore) -> Result<Database, StartError> {
    match &config.database.url_file {
        Some(file) => {
            let text = String::from_utf8_lossy(&files::read_private(file, 4_096)?).trim().to_owned();
            Ok(Database::Postgres { url: SecretString::from(text) })
        }
        None => Ok(Database::File { path: config.file("palisade.db"), key: keystore.page_key() }),
    }
}

/// The audit log's signer: made on the very first start, the same ever after.
async fn log_signer(store: &Store, origin: &str) -> Result<NoteSigner, StartError> {
    const KEY: &str = "audit.key";
    let damaged = |error: notary::NoteError| StartError::Keys(format!("the audit log's key: {error}"));
    let kept = store.read().await?.settings().get(KEY).await?;
    if let Some(pkcs8) = kept {
        return NoteSigner::from_pkcs8(origin, &pkcs8).map_err(damaged);
    }
    let (signer, pkcs8) = NoteSigner::generate(origin).map_err(damaged)?;
    store
        .write(move |tx| Box::pin(async move { tx.settings().put(KEY, &pkcs8).await }))
        .await
        .map_err(StoreError::from)?;
    Ok(signer)
}

/// Tells whoever started this process where it serves.
fn announce(app: &App, api: &Listener, scrape: &Listener) -> Result<(), StartError> {
    files::write_private_atomically(&app.config.file("ca.pem"), app.identity.roots_pem().as_bytes())?;
    let ready = serde_json::json!({
        "control_plane_url": app.config.public_url,
        "address": api.local_addr(),
        "metrics_url": format!("https://{}/metrics", scrape.local_addr()),
        "ca_cert_pem_file": app.config.file("ca.pem"),
        "pid": std::process::id(),
    });
    Ok(files::write_private_atomically(&app.config.file("ready.json"), ready.to_string().as_bytes())?)
}

async fn serve_until(
    app: &Arc<App>,
    api: Listener,
    scrape: Listener,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
    let api = api.with_metrics(ListenerMetrics::register(&metrics, "api"));
    let scrape = scrape.with_metrics(ListenerMetrics::register(&metrics, "metrics"));
    let guarded = serve::metrics::router(metrics)
        .layer(from_fn_with_state(Arc::clone(app), crate::gate::operators_only));
    let (stopping, stopped) = watch::channel(());
    let until = |mut stopped: watch::Receiver<()>| async move {
        let _closed = stopped.changed().await;
    };
    let limits = ListenerLimits::default();
    let serving = async {
        tokio::join!(
            api.serve(app.identity.api_tls()?, router::router(app), limits, until(stopped.clone())),
            scrape.serve(app.identity.metrics_tls()?, guarded, limits, until(stopped)),
        );
        Ok(())
    };
    let stop = async {
        stop.await;
        drop(stopping);
        // A file that says "ready" for a process that stops would be a lie.
        let _gone_already = std::fs::remove_file(app.config.file("ready.json"));
    };
    let (served, ()) = tokio::join!(serving, stop);
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_does_not_fit_is_named_by_its_file() {
        let key_file = Path::new("/srv/root.key");
        for wrong in [OpenError::WrongKey("/srv/palisade.db".into()), OpenError::WrongRoot] {
            let said = not_opened(wrong, key_file).to_string();
            assert!(said.contains("`/srv/root.key`") && said.contains("restore"), "{said}");
        }
        let said = not_opened(OpenError::DiskFull, key_file).to_string();
        assert!(!said.contains("root.key"), "{said}");
    }
}
