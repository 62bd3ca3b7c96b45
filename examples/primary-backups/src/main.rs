//! primary-backups

fn main() {}
