//! Waiting for a value, with a limit.

use std::time::Duration;

/// How long anything may take before the test fails. Generous: the machine may be busy,
/// and a test that passes never waits for it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Looks until `look` finds something.
///
/// # Panics
/// Nothing was found within [`LIMIT`]; the message says what was waited for.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let looking = async {
        loop {
            ticks.tick().await;
            if let Some(found) = look() {
                return found;
            }
        }
    };
    match tokio::time::timeout(LIMIT, looking).await {
        Ok(found) => found,
        Err(_) => panic!("waited {LIMIT:?} in vain for {what}"),
    }
}
