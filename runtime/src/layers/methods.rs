//! Which RPCs exist and which of them stream, read from the file descriptors that reflection serves anyway.
//!
//! Layers need both: a default deadline is right for a unary call and deadly for a stream, and only known names may become
//! metric labels (a stranger could otherwise fill the memory with made-up paths).

use std::collections::HashMap;

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// How many messages go each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// One request, one answer.
    Unary,
    /// Anything else: such a call may stay open as long as it likes.
    Streaming,
}

/// The known RPCs by path (`/package.Service/Method`).
#[derive(Clone, Debug, Default)]
pub struct Methods {
    by_path: HashMap<String, (MethodKind, &'static str)>,
}

impl Methods {
    /// Reads encoded `FileDescriptorSet`s.
    ///
    /// # Errors
    /// The bytes are not a `FileDescriptorSet`.
    pub fn from_descriptor_sets(sets: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut by_path = HashMap::new();
        for encoded in sets {
            for file in FileDescriptorSet::decode(*encoded)?.file {
                for service in &file.service {
                    for method in &service.method {
                        let full =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        let kind = if method.client_streaming() || method.server_streaming() {
                            MethodKind::Streaming
                        } else {
                            MethodKind::Unary
                        };
                        // Leaked on purpose: built once per process, and a label that costs nothing per call.
                        let name: &'static str = Box::leak(full.clone().into_boxed_str());
                        by_path.insert(full, (kind, name.trim_start_matches('/')));
                    }
                }
            }
        }
        Ok(Self { by_path })
    }

    /// The kind of the RPC at this path; none when it is unknown.
    #[must_use]
    pub fn kind(&self, path: &str) -> Option<MethodKind> {
        self.by_path.get(path).map(|(kind, _)| *kind)
    }

    /// The name for labels: `package.Service/Method`, or `other`.
    #[must_use]
    pub fn label(&self, path: &str) -> &'static str {
        self.by_path.get(path).map_or("other", |(_, name)| name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_from_the_descriptors() {
        let sets = [tonic_health::pb::FILE_DESCRIPTOR_SET];
        let methods = Methods::from_descriptor_sets(&sets).unwrap();
        assert_eq!(methods.kind("/grpc.health.v1.Health/Check"), Some(MethodKind::Unary));
        assert_eq!(methods.kind("/grpc.health.v1.Health/Watch"), Some(MethodKind::Streaming));
        assert_eq!(methods.kind("/made.Up/Name"), None);
        assert_eq!(methods.label("/grpc.health.v1.Health/Check"), "grpc.health.v1.Health/Check");
        assert_eq!(methods.label("/made.Up/Name"), "other");
    }

    #[test]
    fn what_is_no_descriptor_set_is_refused() {
        assert!(Methods::from_descriptor_sets(&[b"\xff\xff\xff"]).is_err());
    }
}
