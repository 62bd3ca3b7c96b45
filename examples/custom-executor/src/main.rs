//! custom-executor

fn main() {}
