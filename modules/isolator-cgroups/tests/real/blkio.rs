//! `cgroups/blkio`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use mezzo_isolator_cgroups::CgroupsIsolator;
use mezzo_proto::v1::cgroup_info::blkio::{Operation, Value};

use crate::calls::{asking, cleanup, prepare, usage};
use crate::machine::{Machine, Task};

/// A disk of the test's own, made of a file.
struct Disk {
    device: String,
    _file: tempfile::NamedTempFile,
}

impl Disk {
    fn new() -> Self {
        if !fs::exists("/dev/loop-control").unwrap() {
            Command::new("modprobe").arg("loop").status().unwrap();
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file.path()).output();
        let made = made.unwrap();
        assert!(made.status.success(), "this test needs a loop device: {made:?}");
        Self { device: String::from_utf8(made.stdout).unwrap().trim().to_owned(), _file: file }
    }

    /// Major and minor number.
    fn number(&self) -> (u64, u64) {
        let number = fs::metadata(&self.device).unwrap().rdev();
        (rustix::fs::major(number).into(), rustix::fs::minor(number).into())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let gone = Command::new("losetup").args(["--detach", &self.device]).status();
        assert!(std::thread::panicking() || gone.unwrap().success(), "{} is left", self.device);
    }
}

#[test]
fn what_is_written_to_a_disk_is_counted() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::blkio, &[]);
    prepare(&isolator, "c", asking(vec![], &[])).unwrap();
    let before = usage(&isolator, "c").blkio_statistics.unwrap();
    let disk = Disk::new();
    let (major, minor) = disk.number();
    if !machine.is_v2() {
        // Kernels since 6.10 count only what they could throttle: a limit that is none.
        let file = machine.dir("blkio", "c").join("blkio.throttle.write_bps_device");
        fs::write(file, format!("{major}:{minor} 1000000000000")).unwrap();
    }
    let script = format!("dd if=/dev/zero of={} bs=65536 count=16 oflag=direct 2>&1", disk.device);
    let output = Task::start(&script).run_in(&isolator, "c");
    let after = usage(&isolator, "c").blkio_statistics.unwrap();
    let written = |values: &[Value]| {
        values.iter().find(|of| of.op() == Operation::Write).map_or(0, Value::value)
    };
    assert!(before.throttling.iter().all(|of| written(&of.io_service_bytes) == 0));
    let ours = after.throttling.iter().find(|of| {
        of.device.as_ref().is_some_and(|of| (of.major_number, of.minor_number) == (major, minor))
    });
    let ours = ours.unwrap_or_else(|| panic!("{output}\n{after:?}"));
    assert_eq!(written(&ours.io_service_bytes), 1 << 20, "{ours:?}");
    assert!(written(&ours.io_serviced) > 0, "{ours:?}");
    cleanup(&isolator, "c");
}
