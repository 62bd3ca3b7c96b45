//! mezzo-master-core
