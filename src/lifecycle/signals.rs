//! SIGTERM and SIGINT: the first asks for a drain, the second for an end at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two switches that signals turn.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Stop receiving and drain.
    pub stop: CancellationToken,
    /// Release everything now.
    pub abandon: CancellationToken,
}

impl Signals {
    /// Listens from now on, in a task of its own.
    pub fn listen() -> io::Result<Self> {
        let signals = Self { stop: CancellationToken::new(), abandon: CancellationToken::new() };
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let switches = signals.clone();
        tokio::spawn(async move {
            for switch in [&switches.stop, &switches.abandon] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                let again = switches.stop.is_cancelled();
                log::info!(signal = name, again; "signal received");
                switch.cancel();
            }
        });
        Ok(signals)
    }
}
