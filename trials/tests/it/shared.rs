//! One demonstration site for all trials that leave it as it is, or only add tenants of their own.

use tokio::sync::OnceCell;
use trials::{Options, Site};

/// It is never dropped; its guard clears it away when this process ends.
static SITE: OnceCell<Site> = OnceCell::const_new();

pub(crate) async fn site() -> &'static Site {
    SITE.get_or_init(async || Site::up(Options::default()).await.unwrap()).await
}

/// One site without the demonstration, for trials that bring tenants of their own and leave all others alone.
static BARE_SITE: OnceCell<Site> = OnceCell::const_new();

pub(crate) async fn bare_site() -> &'static Site {
    let options = || Options { demo: false, ..Options::default() };
    BARE_SITE.get_or_init(async || Site::up(options()).await.unwrap()).await
}

/// Text in a file of the engine's samples.
pub(crate) fn sample(name: &str) -> String {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../engines/workflow/samples");
    std::fs::read_to_string(format!("{samples}/{name}")).unwrap()
}
