//! An allocator, loaded from a library, that lies, fails, panics or hangs: the master lives, its books stay right, and when the
//! allocator is honest again frameworks get their offers.

use mezzo_integration_tests::{Cluster, TEST_MODULES, http_get, manifest, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::TaskFinished;

use crate::Done;
use crate::framework::TestFramework;

/// The proposals that the liar makes and no master may take.
const LIES: u64 = 10 + mezzo_test_modules::LIES;

#[tokio::test]
async fn lies_are_refused_and_counted_and_what_is_true_is_offered() -> Done {
    let mut cluster = Cluster::builder()
        .master_flag(manifest(TEST_MODULES, &[("test/liar", &[])]))
        .master_flag("--allocator=test/liar")
        .master_flag("--allocation_interval=20ms")
        .start()
        .await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    // The first offer comes only when all lies have been told.
    let task = Task::shell("exit 0").id("t").cpus(4.0).mem(2048.0);
    assert_eq!(framework.run(&task).await?.state(), TaskFinished, "everything there is");
    // And again: nothing of it was lost to a lie.
    let again = Task::shell("exit 0").id("again").cpus(4.0).mem(2048.0);
    assert_eq!(framework.run(&again).await?.state(), TaskFinished);

    let address = cluster.master_address().parse()?;
    until("every lie is counted", async || {
        let (_, metrics) = http_get(address, "/metrics").await?;
        let refused = metrics
            .lines()
            .find_map(|line| line.strip_prefix("mezzo_master_proposals_refused_total "))
            .and_then(|count| count.trim().parse::<u64>().ok());
        Ok((refused >= Some(LIES)).then_some(()))
    })
    .await?;
    let modules = cluster.master().await?.get_modules(()).await?.into_inner().modules;
    let allocate = modules.iter().flat_map(|m| &m.methods).find(|m| m.method() == "allocate");
    assert_eq!(allocate.map(|m| (m.errors(), m.panics())), Some((2, 1)), "{modules:?}");
    let log = cluster.master_log();
    let told = log.lines().filter(|line| line.contains("proposals of the allocator do not fit"));
    let told = told.count();
    assert!((10..100).contains(&told), "{told} lines for {LIES} lies");
    assert!(log.contains("no allocation today") && log.contains("no allocation at all"), "{log}");
    assert!(cluster.stop_master().await?.success());
    Ok(())
}

#[tokio::test]
async fn an_allocator_that_hangs_leaves_the_master_answering_and_stoppable() -> Done {
    let mut cluster = Cluster::builder()
        .master_flag(manifest(TEST_MODULES, &[("test/liar", &[("hangs", "allocate")])]))
        .master_flag("--allocator=test/liar")
        .master_flag("--module_watchdog=200ms")
        .start()
        .await?;
    // Agents register and frameworks subscribe all the same.
    let framework = TestFramework::connect(&cluster).await?;
    let mut master = cluster.master().await?;
    until("the call is told to be overdue", async || {
        let modules = master.get_modules(()).await?.into_inner().modules;
        let mut methods = modules.iter().flat_map(|m| &m.methods);
        Ok(methods.any(|m| m.method() == "allocate" && m.overdue() == 1).then_some(()))
    })
    .await?;
    let frameworks = master.get_frameworks(()).await?.into_inner().frameworks;
    assert_eq!(frameworks.len(), 1);
    assert!(cluster.master_log().contains("allocate"), "it is in the log");
    drop(framework);
    assert!(cluster.stop_master().await?.success());
    Ok(())
}
