//! Dominant resource fairness, step by step: the example of the paper, on a real cluster.
//!
//! One agent has 9 CPUs and 18 GB. User A's tasks need <1 CPU, 4 GB>, user B's <3 CPUs, 1 GB>. Both
//! launch one task per offer, for as long as one fits. A fair allocator does not split each resource
//! in halves: it makes the two *dominant* shares equal, A's of memory and B's of CPUs. In the end A
//! runs 3 tasks, B runs 2, and both have two thirds of what they need most.
//!
//! `drf-demo [MASTER]` needs a cluster of nothing but an agent with `cpus:9;mem:18432`:
//! `mezzo local --resources 'cpus:9;mem:18432' -- drf-demo`

mod board;
mod user;

use std::sync::{Arc, Mutex};

use mezzo_sdk::{Framework, SchedulerDriver};

use crate::board::Board;
use crate::user::User;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let master = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("MEZZO_MASTER").ok())
        .unwrap_or_else(|| "127.0.0.1:5050".to_owned());
    let board = Arc::new(Mutex::new(Board::default()));
    let run = |index| {
        let user = User::new(index, Arc::clone(&board));
        let framework = Framework::new(format!("user-{}", user.name())).role(user.name());
        SchedulerDriver::new(&master, framework).run(user)
    };
    // Either one may find that the cluster is not the one of the example.
    tokio::try_join!(run(0), run(1))?;
    let board = board.lock().map_err(|_| anyhow::anyhow!("a user panicked"))?;
    anyhow::ensure!(board.wrong.is_none(), "{}", board.wrong.clone().unwrap_or_default());
    tell(&format!("drf-demo: {}", board.shares()));
    Ok(())
}

/// Everything that this program says.
#[allow(clippy::print_stdout, reason = "this program is here to tell")]
fn tell(line: &str) {
    println!("{line}");
}
