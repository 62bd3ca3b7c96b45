//! mezzo-containerizer
