//! Idle memory of each process, right after the site came up and ran its sample.

use crate::report::Report;
use anyhow::{Context as _, Result};
use trials::Site;

/// Measures all three.
pub(crate) fn measure(report: &mut Report, site: &Site) -> Result<()> {
    let data_plane = site.data_planes().first().context("the demo has a data plane")?;
    let ready = std::fs::read(site.state().join("control/ready.json"))?;
    let ready: serde_json::Value = serde_json::from_slice(&ready)?;
    let control = ready.get("pid").and_then(serde_json::Value::as_u64).context("the control plane's pid")?;
    let rows = [
        ("control plane", u32::try_from(control)?, 60.0),
        ("data plane", data_plane.pid, 40.0),
        ("sidecar", data_plane.sidecar_pid, 15.0),
    ];
    for (what, pid, most) in rows {
        let used = megabytes(host::usage::rss_bytes(pid)?);
        report.line(
            format!("idle memory: {what}"),
            format!("{used:.1} MB"),
            "",
            format!("<= {most:.0} MB"),
            used <= most,
        );
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a size far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
