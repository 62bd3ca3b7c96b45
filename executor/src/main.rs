//! mezzo-executor

fn main() {}
