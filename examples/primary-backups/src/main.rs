//! Three tasks that belong together: a primary, and two backups that need to know where it is.
//!
//! This is why people write a framework of their own: the order in which things start, what one has
//! to be told about the other, and what happens when the wrong one dies, are knowledge that no
//! general scheduler has.
//!
//! * The primary starts alone. When it runs, two backups start with its address in `PRIMARY`.
//! * When a backup dies, a new one takes its place.
//! * When the primary dies, its backups are of no use: they are ended first, then everything starts
//!   again in order.
//!
//! `primary-backups [MASTER [ACCIDENTS]]` kills the primary ACCIDENTS times (once if not said) to
//! show this, and ends. The same program is the primary and the backups: see [`member`].

mod group;
mod member;

use std::env;

use anyhow::Context;
use mezzo_sdk::{Framework, SchedulerDriver};

use crate::group::Group;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let master = match arguments.next().as_deref() {
        Some("primary") => return member::primary(),
        Some("backup") => return member::backup(),
        Some(master) => master.to_owned(),
        None => env::var("MEZZO_MASTER").unwrap_or_else(|_| "127.0.0.1:5050".to_owned()),
    };
    let accidents =
        arguments.next().map_or(Ok(1), |n| n.parse()).context("ACCIDENTS: expected a number")?;
    // On one machine every task finds this program where it is; on many it would come by URI.
    let program = env::current_exe()?.display().to_string();
    let group = Group::new(program, accidents);
    let group = SchedulerDriver::new(master, Framework::new("primary-backups")).run(group).await?;
    tell(&format!("primary-backups: {} generations in order", group.generations()));
    Ok(())
}

/// Everything that this program says.
#[allow(clippy::print_stdout, reason = "this program is here to tell")]
fn tell(line: &str) {
    println!("{line}");
}
