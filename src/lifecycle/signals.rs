//! SIGTERM and SIGINT: the first asks for a drain, the second for an end at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use super::interruption::{Cause, Interruptions};

/// Listens from now on, in a task of its own. Only signals count for "the second": one that comes in the middle of
/// another cause's drain is a first one.
pub fn listen(interruptions: &Interruptions) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let interruptions = interruptions.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            log::info!(signal = name, again; "signal received");
            if again {
                interruptions.abandon();
            } else {
                interruptions.report(Cause::Signal(name));
            }
        }
    });
    Ok(())
}
