//! The shell: when to sample, when to swear, when to deliver, and what to tell about it.

mod delivery;
mod events;
mod start;

pub use start::RunError;

use crate::config::MeterConfig;
use crate::disk::FileDisk;
use crate::metering::{Metering, MeteringError, Notice};
use crate::sample::{SampleError, sample};
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
        events: Events::new(config.tenant, &identity, control_plane.clone(), clock.clone()),
        blind: false,
    };
    sidecar.events.note_all(notices);
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
                answered = self.delivery.answered(&self.metering) => {
                    let notices = self.delivery.take(answered?, &mut self.metering)?;
                    self.events.note_all(notices);
                }
                () = self.events.carry() => {}
            }
        }
    }

    async fn sample(&mut self) {
        let error = match sample(&self.socket, self.data_plane_uid).await {
            Ok(sample) => {
                self.events.note_all(self.metering.observe(&sample));
                self.blind = false;
                return;
            }
            Err(error) => error,
        };
        if !self.blind {
            tracing::warn!(%error, "the runtime's counters cannot be read; the last ones are sworn to");
            if let SampleError::ForeignPeer { found, .. } = error {
                self.events.note_all(vec![Notice::ForeignPeer { uid: found }]);
            }
        }
        self.blind = true;
    }

    /// Swears to what was counted. A disk that refuses is tried again at the next heartbeat: nothing is sent
    /// that is not synced, and totals are cumulative.
    fn swear(&mut self) -> Result<(), MeteringError> {
        match self.metering.beat(self.clock.now(), Integrity::UNCHECKED) {
            Ok(notices) => self.events.note_all(notices),
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
                let answered = self.delivery.answered(&self.metering).await?;
                self.events.note_all(self.delivery.take(answered, &mut self.metering)?);
                if self.delivery.failures() > before {
                    break;
                }
            }
            if !self.events.is_empty() {
                self.events.carry().await;
            }
            Ok(())
        };
        // What is not delivered by then waits in the journal.
        timeout(FAREWELL, last).await.unwrap_or(Ok(()))
    }
}
