//! mezzo-master
