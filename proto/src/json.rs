//! JSON as Mesos writes and reads it.
