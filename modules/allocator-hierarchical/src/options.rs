//! What an operator chooses, out of `initialize`.

use std::collections::BTreeSet;

use mezzo_model::{MinAllocatable, Quantities, ResourceName, Scalar};
use mezzo_module_api::v1::InitializeAllocatorRequest;
use mezzo_module_api::{Code, ModuleError};
use mezzo_proto::v1::offer_filters::ResourceQuantities;

#[derive(Debug, Default)]
pub(crate) struct Options {
    /// No filter lives shorter than this.
    pub(crate) interval_nanos: u64,
    /// These names count for nobody's share.
    pub(crate) excluded: BTreeSet<ResourceName>,
    pub(crate) min_allocatable: MinAllocatable,
    pub(crate) filter_gpus: bool,
    /// Where the master is.
    pub(crate) region: Option<String>,
    pub(crate) seed: u64,
}

impl Options {
    pub(crate) fn new(request: &InitializeAllocatorRequest) -> Result<Self, ModuleError> {
        for (option, value) in
            [("role_sorter", &request.role_sorter), ("framework_sorter", &request.framework_sorter)]
        {
            if let Some(value) = value.as_deref().filter(|value| *value != "drf") {
                return Err(ModuleError::new(
                    Code::Unimplemented,
                    format!("{option} `{value}` is not implemented, expected `drf`"),
                ));
            }
        }
        let domain = request.domain.as_ref().and_then(|domain| domain.fault_domain.as_ref());
        Ok(Self {
            interval_nanos: request.allocation_interval_nanos(),
            excluded: request
                .fair_sharing_excluded_resource_names
                .iter()
                .map(|name| ResourceName::from(name.as_str()))
                .collect(),
            min_allocatable: min_allocatable(&request.min_allocatable_resources)?,
            filter_gpus: request.filter_gpu_resources.unwrap_or(true),
            region: domain.map(|domain| domain.region.name.clone()),
            seed: request.seed(),
        })
    }
}

/// Any one of these, in full.
pub(crate) fn min_allocatable(wire: &[ResourceQuantities]) -> Result<MinAllocatable, ModuleError> {
    let one = |(name, amount): (&String, &mezzo_proto::v1::value::Scalar)| {
        let amount = Scalar::from_f64(amount.value).map_err(|error| {
            ModuleError::invalid(format!("min_allocatable_resources: {name}: {error}"))
        })?;
        Ok((ResourceName::from(name.as_str()), amount))
    };
    wire.iter()
        .map(|alternative| {
            alternative.quantities.iter().map(one).collect::<Result<Quantities, _>>()
        })
        .collect()
}
