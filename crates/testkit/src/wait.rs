//! Waiting until something is ready.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

/// Time between two looks.
const POLL: Duration = Duration::from_millis(50);

/// Asks again and again until the answer is `Ok`, and returns it.
///
/// # Errors
/// Not within `limit`; names what was waited for and the last error.
pub async fn wait_for<T, E: Display>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> anyhow::Result<T> {
    let end = Instant::now() + limit;
    let mut last = String::from("no answer");
    loop {
        match tokio::time::timeout_at(end, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => {}
        }
        if Instant::now() + POLL >= end {
            bail!("{what} not ready after {limit:?}: {last}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until a TCP port accepts connections.
///
/// # Errors
/// Not within `limit`.
pub async fn wait_for_port(what: &str, address: SocketAddr, limit: Duration) -> anyhow::Result<()> {
    wait_for(what, limit, async || tokio::net::TcpStream::connect(address).await).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_first_success_and_names_what_failed() {
        let mut looks = 0;
        let value = wait_for("counter", Duration::from_secs(60), async || {
            looks += 1;
            if looks < 3 { Err("too small") } else { Ok(looks) }
        });
        assert_eq!(value.await.unwrap(), 3);

        let never = wait_for("gate", Duration::from_millis(120), async || Err::<(), _>("shut")).await;
        let text = never.unwrap_err().to_string();
        assert!(text.contains("gate") && text.contains("shut"), "{text}");
    }
}
