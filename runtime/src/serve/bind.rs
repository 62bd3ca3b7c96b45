//! Taking a port, and saying who has it when it is taken.

use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::Incoming;

/// Pause after an error of `accept` that is not about one connection (no file descriptor left).
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// The address could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody else listens there.
    #[error("cannot listen on {address}: the port is in use{}; expected a free port", owner.as_deref().map(|owner| format!(" by {owner}")).unwrap_or_default())]
    InUse {
        /// The address.
        address: SocketAddr,
        /// Name and pid of who listens, when it can be seen.
        owner: Option<String>,
    },
    /// The address belongs to another machine.
    #[error("cannot listen on {address}: no interface of this machine has the address {}", address.ip())]
    NotLocal {
        /// The address.
        address: SocketAddr,
    },
    /// The port needs privileges.
    #[error("cannot listen on {address}: permission denied; expected a port above 1023 or root")]
    Denied {
        /// The address.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {address}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// A port that is ours.
#[derive(Debug)]
pub struct TcpIncoming {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the address; with port 0 any free port.
///
/// # Errors
/// The address is taken, foreign or privileged.
pub async fn bind(address: SocketAddr) -> Result<TcpIncoming, BindError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(TcpIncoming { listener, address })
    };
    match bound.await {
        Ok(incoming) => Ok(incoming),
        Err(source) => Err(explain(address, source).await),
    }
}

impl TcpIncoming {
    /// The address with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Incoming for TcpIncoming {
    type Io = TcpStream;

    async fn accept(&mut self) -> Option<(TcpStream, SocketAddr)> {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Small messages must not wait for more of them. Fails only for a connection that is gone already.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, peer));
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(address = %self.address, "cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

async fn explain(address: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            // Reads many files of /proc: not on a thread of the runtime.
            let owner = tokio::task::spawn_blocking(move || listener_of(address.port())).await;
            BindError::InUse { address, owner: owner.ok().flatten() }
        }
        io::ErrorKind::AddrNotAvailable => BindError::NotLocal { address },
        io::ErrorKind::PermissionDenied => BindError::Denied { address },
        _ => BindError::Other { address, source },
    }
}

/// Name and pid of a process that listens on this TCP port, as far as `/proc` lets us see.
fn listener_of(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening_inode(&std::fs::read_to_string(table).ok()?, port))?;
    let wanted = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let has_it = files.flatten().any(|file| {
            std::fs::read_link(file.path())
                .is_ok_and(|target| target.as_os_str().as_bytes() == wanted.as_bytes())
        });
        if has_it {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The socket inode of the listener on `port` in the text of `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        (local.ends_with(&suffix) && state == LISTEN).then(|| inode.parse().ok())?
    })
}
