//! A thread that appends lines to a file, so that nobody else waits for a disk.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use mezzo_module_api::{Host, ModuleError};

/// The queue, and the thread at its end.
#[derive(Debug)]
pub(crate) struct Writer {
    host: Host,
    /// `None` once it is dropped: that ends the thread, after the lines before it.
    lines: Mutex<Option<SyncSender<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn new(host: Host, file: &str, queue: usize) -> Result<Self, ModuleError> {
        let path = PathBuf::from(file);
        // The operator learns of a path that does not work now, and not at the first task.
        open(&path).map_err(|error| {
            ModuleError::invalid(format!(
                "parameter `file` is `{file}`, which cannot be opened: {error}"
            ))
        })?;
        let (sender, lines) = mpsc::sync_channel(queue);
        let on_thread = host.clone();
        let thread = thread::Builder::new()
            .name("example-audit".into())
            .spawn(move || run(&on_thread, &path, &lines))
            .map_err(|error| ModuleError::internal(format!("no thread: {error}")))?;
        Ok(Self { host, lines: Mutex::new(Some(sender)), thread: Some(thread) })
    }

    /// Never waits.
    pub(crate) fn write(&self, line: String) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.as_ref().map(|lines| lines.try_send(line)) {
            Some(Ok(())) => {}
            Some(Err(TrySendError::Full(line) | TrySendError::Disconnected(line))) => {
                self.host.count("lost", 1);
                self.host.warn(format!("the queue is full, this line is lost: {line}"));
            }
            None => {}
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(thread) = self.thread.take() {
            // What is in the queue is written; a thread that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

/// Opens the file for every line: it may be moved away at any time (logrotate), and then a new one begins.
fn run(host: &Host, path: &Path, lines: &Receiver<String>) {
    for line in lines {
        let written =
            open(path).and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        match written {
            Ok(()) => host.count("written", 1),
            Err(error) => {
                host.count("lost", 1);
                host.error(format!("{}: {error}; this line is lost: {line}", path.display()));
            }
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
