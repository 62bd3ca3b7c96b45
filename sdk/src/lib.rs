//! mezzo-sdk
