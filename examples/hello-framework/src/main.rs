//! hello-framework

fn main() {}
