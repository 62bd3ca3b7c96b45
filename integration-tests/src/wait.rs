//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How long a condition may take to come true, on a busy machine. Times [`slowness`].
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// How many times slower than usual this machine is: `MEZZO_TEST_SLOWNESS`, which whoever starts a virtual machine without help
/// from hardware sets; else 1.
#[must_use]
pub fn slowness() -> u32 {
    let told = std::env::var("MEZZO_TEST_SLOWNESS").ok();
    told.and_then(|told| told.parse().ok()).filter(|times| *times > 0).unwrap_or(1)
}

/// Waits until `look` finds something, and gives it. An error of `look` counts as "not yet" and is
/// told if patience runs out.
///
/// # Errors
/// When a minute (times [`slowness`]) has passed; the text says what was waited for.
pub async fn until<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE * slowness();
    loop {
        let problem = match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(problem) => Some(problem),
        };
        if Instant::now() > deadline {
            match problem {
                Some(problem) => bail!("waited in vain until {what}: {problem:#}"),
                None => bail!("waited in vain until {what}"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
