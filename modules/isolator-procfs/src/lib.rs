//! Isolator `mem/procfs`: memory limits by looking at process trees, as YARN's NodeManager does.
