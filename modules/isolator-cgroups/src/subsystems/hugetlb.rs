//! `hugetlb`: containers are in the controller; limits are inherited.

use mezzo_module_api::ModuleError;

use crate::subsystem::{Setup, Subsystem};

/// The controller.
#[derive(Debug)]
struct Hugetlb;

#[allow(clippy::unnecessary_wraps, reason = "as the others")]
pub(crate) fn make(_: &Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError> {
    Ok(Box::new(Hugetlb))
}

impl Subsystem for Hugetlb {}
