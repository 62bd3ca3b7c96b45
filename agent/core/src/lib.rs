//! mezzo-agent-core
