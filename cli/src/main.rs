//! mezzo

fn main() {}
