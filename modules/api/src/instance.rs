//! A module of any kind, as the boundary sees it: numbers and bytes.

use std::fmt;
use std::sync::Arc;

use crate::v1::ModuleKind;
use crate::{
    Allocator, AllocatorMethod, Completion, Hook, HookMethod, Isolator, IsolatorMethod, ModuleError,
};

/// What a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// An [`Allocator`].
    Allocator,
    /// An [`Isolator`].
    Isolator,
    /// A [`Hook`].
    Hook,
}

impl Kind {
    /// The kind of this number at the boundary; `None` for one that this build does not know.
    pub fn from_number(number: u32) -> Option<Self> {
        match i32::try_from(number).ok().and_then(|number| ModuleKind::try_from(number).ok())? {
            ModuleKind::Allocator => Some(Self::Allocator),
            ModuleKind::Isolator => Some(Self::Isolator),
            ModuleKind::Hook => Some(Self::Hook),
            ModuleKind::Unknown => None,
        }
    }

    /// Its number at the boundary.
    pub fn number(self) -> u32 {
        match self {
            Self::Allocator => 1,
            Self::Isolator => 2,
            Self::Hook => 3,
        }
    }

    /// The name of a method of this kind; `unknown` for a number that is none.
    pub fn method_name(self, number: u32) -> &'static str {
        match self {
            Self::Allocator => AllocatorMethod::from_number(number).map(AllocatorMethod::name),
            Self::Isolator => IsolatorMethod::from_number(number).map(IsolatorMethod::name),
            Self::Hook => HookMethod::from_number(number).map(HookMethod::name),
        }
        .unwrap_or("unknown")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allocator => "allocator",
            Self::Isolator => "isolator",
            Self::Hook => "hook",
        })
    }
}

/// A module that has been made.
#[derive(Clone)]
pub enum Instance {
    /// An allocator.
    Allocator(Arc<dyn Allocator>),
    /// An isolator.
    Isolator(Arc<dyn Isolator>),
    /// A hook.
    Hook(Arc<dyn Hook>),
}

impl Instance {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Allocator(_) => Kind::Allocator,
            Self::Isolator(_) => Kind::Isolator,
            Self::Hook(_) => Kind::Hook,
        }
    }

    /// A call by number, with an encoded request; the encoded response.
    ///
    /// # Errors
    /// The module's own, `Unimplemented` for a number that is not in the table, `InvalidArgument` for bytes that do not decode.
    pub fn call(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        match self {
            Self::Allocator(module) => AllocatorMethod::call(module.as_ref(), method, request),
            Self::Isolator(module) => IsolatorMethod::call(module.as_ref(), method, request),
            Self::Hook(module) => HookMethod::call(module.as_ref(), method, request),
        }
    }

    /// The same for a call that is answered later.
    pub fn start(&self, method: u32, request: &[u8], done: Completion<Vec<u8>>) {
        match self {
            Self::Allocator(module) => {
                AllocatorMethod::start(module.as_ref(), method, request, done)
            }
            Self::Isolator(module) => IsolatorMethod::start(module.as_ref(), method, request, done),
            Self::Hook(module) => HookMethod::start(module.as_ref(), method, request, done),
        }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instance").field(&self.kind()).finish()
    }
}
