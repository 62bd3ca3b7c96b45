//! An allocator that offers first come, first served.
