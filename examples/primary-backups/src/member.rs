//! The tasks: a primary that greets whoever connects, and a backup that stays connected to it.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::tell;

/// How long a backup tries to reach its primary: RUNNING means that it was started, not that it
/// listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// Greets every backup and keeps its connection, until it is killed.
pub(crate) fn primary() -> anyhow::Result<()> {
    let port: u16 = env::var("PORT0").context("PORT0 is not set")?.parse()?;
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    tell(&format!("primary listens on {port}"));
    let mut connections = Vec::new();
    for connection in listener.incoming() {
        let mut connection = connection?;
        writeln!(connection, "welcome")?;
        connections.push(connection);
        tell(&format!("{} backups so far", connections.len()));
    }
    Ok(())
}

/// Connects to the primary and waits for its end. Ends badly with it: a backup without a primary
/// cannot be of use.
pub(crate) fn backup() -> anyhow::Result<()> {
    let address = env::var("PRIMARY").context("PRIMARY is not set")?;
    let mut connection = BufReader::new(connect(&address)?);
    let mut greeting = String::new();
    connection.read_line(&mut greeting)?;
    tell(&format!("{address} said {}", greeting.trim()));
    connection.read_to_end(&mut Vec::new())?;
    bail!("{address} is gone");
}

fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= give_up => {
                return Err(error).with_context(|| format!("cannot reach {address}"));
            }
            Err(_) => pause(),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a process with one thread and nothing else to do")]
fn pause() {
    thread::sleep(Duration::from_millis(50));
}
