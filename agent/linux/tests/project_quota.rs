//! Project quotas on a real XFS. Wants root and a kernel that has it, which is why plain `cargo test` leaves it out:
//! `cargo xtask vm-test` runs it in a virtual machine. Fails loudly anywhere else.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod support;
#[path = "support/xfs.rs"]
mod xfs;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use mezzo_linux::project_quota::{
    Limits, ProjectQuotas, ProjectUsage, Unavailable, project_of, set_project,
};

use support::wait_until;
use xfs::{XfsMount, fill, is_quota, run};

const MB: u64 = 1 << 20;

#[test]
fn what_is_made_in_a_tree_belongs_to_its_project_and_what_was_there_too() {
    let mount = XfsMount::new("prjquota");
    let quotas = ProjectQuotas::of(&mount.path()).unwrap();
    let tree = mount.directory("tree");
    let deep = mount.directory("tree/a/b/c/d");
    assert!(fill(&deep.join("old"), 1).1.is_none());
    run(Command::new("mkfifo").arg(tree.join("fifo")));
    assert_eq!(project_of(&tree).unwrap(), None);
    assert_eq!(quotas.usage(77).unwrap(), ProjectUsage::default());

    let labelled = set_project(&tree, 77).unwrap();
    assert_eq!((labelled.files, labelled.refused), (6, 0), "five directories and a file");
    assert_eq!(project_of(&deep).unwrap(), Some(77));
    let usage = quotas.usage(77).unwrap();
    assert_eq!((usage.inodes, usage.bytes), (6, MB));
    assert!(fill(&deep.join("new"), 2).1.is_none());
    fs::create_dir(deep.join("below")).unwrap();
    assert_eq!(project_of(&deep.join("below")).unwrap(), Some(77));
    let usage = quotas.usage(77).unwrap();
    assert_eq!((usage.inodes, usage.bytes), (8, 3 * MB));
    assert!(quotas.cover(&deep).unwrap());
    assert!(!quotas.cover(std::path::Path::new("/proc")).unwrap());
}

#[test]
fn links_lead_nowhere_and_what_refuses_is_counted() {
    let mount = XfsMount::new("prjquota");
    let (tree, outside) = (mount.directory("tree"), mount.directory("outside"));
    fs::write(outside.join("file"), "x").unwrap();
    symlink(&outside, tree.join("link")).unwrap();
    symlink("/etc/passwd", tree.join("other")).unwrap();
    fs::write(tree.join("fixed"), "x").unwrap();
    run(Command::new("chattr").arg("+i").arg(tree.join("fixed")));
    let mounted = mount.directory("tree/mounted");
    run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&mounted));
    let labelled = set_project(&tree, 77);
    run(Command::new("umount").arg(&mounted));
    run(Command::new("chattr").arg("-i").arg(tree.join("fixed")));
    let labelled = labelled.unwrap();
    assert_eq!(
        (labelled.files, labelled.refused),
        (2, 0),
        "the immutable file too, no link, no mount"
    );
    assert_eq!(project_of(&outside).unwrap(), None);
    assert_eq!(project_of(&mounted).unwrap(), None);
    // The root itself may not be one either.
    assert!(set_project(&tree.join("link"), 78).is_err());
}

#[test]
fn the_kernel_holds_a_project_to_its_hard_limit_and_nobody_else() {
    let mount = XfsMount::new("prjquota");
    let quotas = ProjectQuotas::of(&mount.path()).unwrap();
    assert!(quotas.are_enforced());
    let (limited, free) = (mount.directory("limited"), mount.directory("free"));
    set_project(&limited, 77).unwrap();
    set_project(&free, 78).unwrap();
    let limits = Limits { soft: Some(4 * MB), hard: Some(8 * MB) };
    quotas.set_limits(77, limits).unwrap();
    assert_eq!(quotas.usage(77).unwrap().limits, limits);

    let (written, refused) = fill(&limited.join("file"), 12);
    let refused = refused.unwrap();
    assert!(is_quota(&refused), "{refused:?}");
    assert!((7 * MB..=8 * MB).contains(&written), "{written}");
    assert!((7 * MB..=8 * MB).contains(&quotas.usage(77).unwrap().bytes));
    assert!(fill(&free.join("file"), 12).1.is_none());
    assert!(fill(&mount.path().join("file"), 12).1.is_none());

    // Room again: by a higher limit, by no limit, by files that go.
    quotas.set_limits(77, Limits { soft: None, hard: Some(10 * MB) }).unwrap();
    assert!(fill(&limited.join("file"), 1).1.is_none());
    assert!(fill(&limited.join("file"), 12).1.is_some());
    quotas.set_limits(77, Limits::default()).unwrap();
    assert_eq!(quotas.usage(77).unwrap().limits, Limits::default());
    assert!(fill(&limited.join("file"), 12).1.is_none());
    quotas.set_limits(77, limits).unwrap();
    assert!(fill(&limited.join("file"), 1).1.is_some(), "a limit may be below what is used");
    fs::remove_file(limited.join("file")).unwrap();
    wait_until("the file's blocks are free", || quotas.usage(77).unwrap().bytes == 0);
    assert!(fill(&limited.join("file"), 2).1.is_none());
}

#[test]
fn a_limit_of_nothing_is_a_limit() {
    let mount = XfsMount::new("prjquota");
    let quotas = ProjectQuotas::of(&mount.path()).unwrap();
    let tree = mount.directory("tree");
    set_project(&tree, 77).unwrap();
    quotas.set_limits(77, Limits { soft: Some(0), hard: Some(0) }).unwrap();
    assert!(fs::write(tree.join("file"), "x").is_err(), "not even a file can be made");
}

#[test]
fn a_file_leaves_its_project_only_as_a_copy() {
    let mount = XfsMount::new("prjquota");
    let (a, b) = (mount.directory("a"), mount.directory("b"));
    set_project(&a, 77).unwrap();
    set_project(&b, 78).unwrap();
    fs::write(a.join("file"), "x").unwrap();
    for refused in
        [fs::rename(a.join("file"), b.join("file")), fs::hard_link(a.join("file"), b.join("x"))]
    {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::CrossesDevices, "{refused:?}");
    }
}

#[test]
fn a_project_has_inodes_until_the_last_file_is_closed() {
    let mount = XfsMount::new("prjquota");
    let quotas = ProjectQuotas::of(&mount.path()).unwrap();
    let tree = mount.directory("tree");
    set_project(&tree, 77).unwrap();
    let open = fs::File::create(tree.join("file")).unwrap();
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    assert_eq!(quotas.usage(77).unwrap().inodes, 5);
    fs::remove_dir_all(&tree).unwrap();
    // The file, and its directory, which the kernel keeps as long.
    wait_until("only what is open is left", || (1..=2).contains(&quotas.usage(77).unwrap().inodes));
    drop(open);
    wait_until("nothing is left", || quotas.usage(77).unwrap().inodes == 0);
}

#[test]
fn without_the_mount_option_it_is_said_what_is_missing() {
    let mount = XfsMount::new("noquota");
    let error = ProjectQuotas::of(&mount.path()).unwrap_err();
    assert!(matches!(error, Unavailable::SwitchedOff { .. }), "{error}");
    assert!(error.to_string().contains("expected the mount option prjquota"), "{error}");
    assert!(error.to_string().contains(mount.path().to_str().unwrap()), "{error}");
    drop(mount);
    let mount = XfsMount::new("pqnoenforce");
    assert!(!ProjectQuotas::of(&mount.path()).unwrap().are_enforced());
}
