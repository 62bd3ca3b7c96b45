//! Who listens where: the TCP tables of our network namespace, and the sockets a process has open.
//!
//! A socket is named by its inode in both, and no two sockets of the machine share one: what listens in another network
//! namespace has an inode that is not in our tables.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::Procfs;
use crate::{Error, Result};

/// `TCP_LISTEN` of the kernel, as the tables show it.
const LISTENING: &str = "0A";

impl Procfs {
    /// The addresses that TCP sockets of our network namespace listen on, version 4 and 6, by the sockets' inodes.
    ///
    /// The tables hold every connection, too, so they are read line by line: the time grows with the connections of the
    /// machine, the memory with its listeners.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn listening_sockets(&self) -> Result<HashMap<u64, SocketAddr>> {
        let mut found = HashMap::new();
        for table in ["net/tcp", "net/tcp6"] {
            let path = self.root.join(table);
            let file = match File::open(&path) {
                Ok(file) => file,
                // A kernel without that version of IP.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("open", path, error)),
            };
            // The first line has the names of the columns.
            for line in BufReader::new(file).lines().skip(1) {
                let line = line.map_err(|source| Error::io("read", &path, source))?;
                found.extend(listener(&path, &line)?);
            }
        }
        Ok(found)
    }

    /// The inodes of the sockets a process has open; `None` when there is no such process.
    ///
    /// # Errors
    /// [`Error::Io`]: only root and the process's own user may look.
    pub fn open_sockets(&self, pid: i32) -> Result<Option<Vec<u64>>> {
        let path = self.of(pid, "fd");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(source) => {
                let error = Error::io("list", path, source);
                return if error.is_not_found() { Ok(None) } else { Err(error) };
            }
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(source) => {
                    let error = Error::io("list", path, source);
                    return if error.is_not_found() { Ok(None) } else { Err(error) };
                }
            };
            // One that was closed meanwhile is not missed.
            let target = fs::read_link(entry.path()).ok();
            found.extend(target.as_deref().and_then(Path::to_str).and_then(socket_inode));
        }
        Ok(Some(found))
    }
}

/// The inode in `socket:[12345]`.
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Inode and address of a line, if it is that of a listening socket.
fn listener(path: &Path, line: &str) -> Result<Option<(u64, SocketAddr)>> {
    let wrong = || Error::malformed(path, line, "\"sl: address:port peer:port state … inode\"");
    let mut words = line.split_ascii_whitespace();
    let (local, state) = (words.nth(1), words.nth(1));
    match (local, state) {
        (Some(local), Some(LISTENING)) => {
            // Queues, timer, retransmits, user and timeout are between state and inode.
            let inode = words.nth(5).and_then(|inode| inode.parse().ok());
            Ok(Some((inode.ok_or_else(wrong)?, address(local).ok_or_else(wrong)?)))
        }
        (Some(_), Some(_)) => Ok(None),
        _ => Err(wrong()),
    }
}

/// `0100007F:1F90`: words of 32 bits as this machine keeps them in memory, then the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at.checked_add(8)?)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_listener_is_found_by_address_and_by_the_process_that_has_it_open() {
        let procfs = Procfs::default();
        let us = i32::try_from(std::process::id()).unwrap();
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let socket = TcpListener::bind(bind).unwrap();
            let address = socket.local_addr().unwrap();
            let connection = TcpStream::connect(address).unwrap();
            let inode = |fd: i32| {
                let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
                socket_inode(link.to_str().unwrap()).unwrap()
            };
            let listening = procfs.listening_sockets().unwrap();
            assert_eq!(listening.get(&inode(socket.as_raw_fd())), Some(&address));
            assert_eq!(listening.get(&inode(connection.as_raw_fd())), None);
            let open = procfs.open_sockets(us).unwrap().unwrap();
            assert!(open.contains(&inode(socket.as_raw_fd())));
            assert!(open.contains(&inode(connection.as_raw_fd())));
        }
    }

    #[test]
    fn a_process_that_is_gone_has_no_sockets() {
        assert_eq!(Procfs::default().open_sockets(i32::MAX).unwrap(), None);
    }

    #[test]
    fn lines_are_listeners_or_something_else_or_wrong() {
        let read = |line: &str| listener(Path::new("/proc/net/tcp"), line);
        let line = "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 00 100 0 0 10 0";
        assert_eq!(read(line).unwrap(), Some((4711, "0.0.0.0:8080".parse().unwrap())));
        let any = "1: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7 1";
        assert_eq!(read(any).unwrap(), Some((7, "[::]:22".parse().unwrap())));
        assert_eq!(read(&line.replace(" 0A ", " 01 ")).unwrap(), None);
        for wrong in [
            "",
            "0:",
            &line.replace("1F90", "1F90F"),
            &line.replace("4711", "x"),
            &line.replace("00000000:1F90", "00:1F90"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.starts_with("/proc/net/tcp says"), "{error}");
        }
    }

    #[test]
    fn a_machine_without_the_tables_has_no_listeners() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Procfs::at(dir.path()).listening_sockets().unwrap(), HashMap::new());
    }
}
