//! The shell: when to sample, when to swear, when to deliver, and what to tell about it.

mod delivery;
mod events;
mod start;

pub use start::RunError;

use crate::config::MeterConfig;
use crate::disk::FileDisk;
use crate::metering::{Metering, MeteringError};
use crate::sample::sample;
use delivery::Delivery;
use events::Events;
use host::clock::Clock;
use serve::identity::RenewalEnd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};
use wire::heartbeat::Integrity;

/// How often the runtime's counters are read, unless heartbeats are made more often: what it counted just before
/// it stops is then seen.
const SAMPLE_MS: u64 = 1_000;

/// How long the last delivery may take. What is not delivered then waits in the journal for the next start.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why a sidecar ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// It was enrolled anew under another id and has to start again.
    EnrolledAnew,
}

/// Meters until `stop` resolves, then swears once more.
///
/// # Errors
/// [`RunError`].
pub async fn run(
    config: &MeterConfig,
    clock: &Clock,
    stop: impl Future<Output = ()>,
) -> Result<End, RunError> {
    tokio::pin!(stop);
    let started = tokio::select! {
        started = start::start(config, clock) => started?,
        () = &mut stop => return Ok(End::Stopped),
    };
    let start::Started { lock: _lock, metering, notices, identity, enrolment, control_plane } = started;
    let mut sidecar = Sidecar {
        socket: config.metering_socket.clone(),
        data_plane_uid: config.data_plane_uid,
        interval_ms: config.interval_ms,
        clock: clock.clone(),
        metering,
        delivery: Delivery::new(control_plane.clone()),
        events: Events::new(config.tenant, &identity, control_plane.clone()),
        blind: false,
    };
    sidecar.events.note_all(notices, clock.now());
    let end = tokio::select! {
        end = identity.keep_renewed(&enrolment, &control_plane, clock) => match end {
            RenewalEnd::EnrolledAnew => End::EnrolledAnew,
        },
        ended = sidecar.meter() => return ended.map(|()| End::Stopped).map_err(RunError::from),
        () = &mut stop => End::Stopped,
    };
    if end == End::Stopped {
        sidecar.farewell().await?;
    }
    Ok(end)
}

struct Sidecar {
    socket: PathBuf,
    data_plane_uid: u32,
    interval_ms: u64,
    clock: Clock,
    metering: Metering<FileDisk>,
    delivery: Delivery,
    events: Events,
    /// Whether the last sample failed, so that a data plane that is down is told once.
    blind: bool,
}

impl Sidecar {
    /// Samples, swears and delivers, for ever. Ends only if swearing must end.
    async fn meter(&mut self) -> Result<(), MeteringError> {
        let every = |ms| {
            let mut ticks = interval(Duration::from_millis(ms));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut samples, mut beats) = (every(self.interval_ms.min(SAMPLE_MS)), every(self.interval_ms));
        loop {
            tokio::select! {
                biased;
                _ = samples.tick() => self.sample().await,
                _ = beats.tick() => self.swear()?,
                () = self.delivery.is_due(), if !self.metering.is_settled() => {}
                () = self.events.are_due() => self.events.deliver(self.clock.now()).await,
            }
            if !self.metering.is_settled() && self.delivery.may_try() {
                let notices = self.delivery.deliver(&mut self.metering).await?;
                self.events.note_all(notices, self.clock.now());
            }
        }
    }

    async fn sample(&mut self) {
        match sample(&self.socket, self.data_plane_uid).await {
            Ok(sample) => {
                let faults = self.metering.observe(&sample);
                self.events.note_all(faults, self.clock.now());
                self.blind = false;
            }
            Err(error) => {
                if !self.blind {
                    tracing::warn!(%error, "the runtime's counters cannot be read; the last ones are sworn to");
                }
                self.blind = true;
            }
        }
    }

    /// Swears to what was counted. A disk that refuses is tried again at the next heartbeat: nothing is sent
    /// that is not synced, and totals are cumulative.
    fn swear(&mut self) -> Result<(), MeteringError> {
        match self.metering.beat(self.clock.now(), Integrity::UNCHECKED) {
            Ok(notices) => self.events.note_all(notices, self.clock.now()),
            Err(MeteringError::Journal(error)) => tracing::error!(%error, "a heartbeat could not be kept"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Swears once more, to what was counted up to the end, and tries to deliver it.
    async fn farewell(&mut self) -> Result<(), MeteringError> {
        self.sample().await;
        self.swear()?;
        let last = async {
            while !self.metering.is_settled() {
                let before = self.delivery.failures();
                let notices = self.delivery.deliver(&mut self.metering).await?;
                self.events.note_all(notices, self.clock.now());
                if self.delivery.failures() > before {
                    break;
                }
            }
            self.events.deliver(self.clock.now()).await;
            Ok(())
        };
        // What is not delivered by then waits in the journal.
        timeout(FAREWELL, last).await.unwrap_or(Ok(()))
    }
}
