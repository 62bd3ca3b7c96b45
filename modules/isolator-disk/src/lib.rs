//! Isolators `disk/du` and `disk/xfs`: how much disk a container may use.
