//! A hook that keeps an audit trail.
