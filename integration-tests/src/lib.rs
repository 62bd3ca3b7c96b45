//! mezzo-integration-tests
