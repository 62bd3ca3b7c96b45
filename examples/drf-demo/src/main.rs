//! drf-demo

fn main() {}
