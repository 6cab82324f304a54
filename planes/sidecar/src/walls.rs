//! The walls that a sidecar builds around itself before it does anything else.

use crate::config::MeterConfig;
use crate::run::RunError;
use host::confine::Walls;

/// Builds them, and writes which stand into the sidecar's folder. Call it while this process has one thread.
///
/// # Errors
/// When a wall cannot be built, or what stands cannot be written down.
pub fn raise(config: &MeterConfig) -> Result<Walls, RunError> {
    // It calls the control plane alone, and nobody calls it: the data plane is asked on a Unix socket.
    let mut control_plane = vec![serve::identity::port_of(&config.control_plane_url)];
    control_plane.extend(config.control_plane_addr.map(|address| address.port()));
    let walls = Walls::raise(&[], &control_plane)?;
    host::files::create_private_dir(&config.state_dir)?;
    walls.write(&config.state_dir)?;
    Ok(walls)
}
