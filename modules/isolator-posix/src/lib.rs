//! Isolators `posix/cpu`, `posix/mem` and `posix/rlimits`: what any Unix can do.
