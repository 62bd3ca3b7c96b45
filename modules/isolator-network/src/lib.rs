//! Isolator `network/ports`: who listens where.
