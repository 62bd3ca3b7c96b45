//! Labels: free key and value pairs. Their order means nothing, so they are kept sorted.

use std::fmt;
use std::sync::Arc;

use mezzo_proto::v1;

/// Labels, sorted; the same key may come more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<(Arc<str>, Option<Arc<str>>)>);

impl Labels {
    /// Takes pairs in any order.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Self {
        let pairs = pairs.into_iter().map(|(key, value)| (Arc::from(key), value.map(Arc::from)));
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        Self(pairs)
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(key, value)| (&**key, value.as_deref()))
    }

    /// The first value of the key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| *k == key).and_then(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&v1::Labels> for Labels {
    fn from(wire: &v1::Labels) -> Self {
        Self::new(wire.labels.iter().map(|label| (label.key.as_str(), label.value.as_deref())))
    }
}

impl From<&Labels> for v1::Labels {
    fn from(labels: &Labels) -> Self {
        let one = |(key, value): (&str, Option<&str>)| v1::Label {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        };
        Self { labels: labels.iter().map(one).collect() }
    }
}

/// `{key: value, flag}`
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key}", if n == 0 { "" } else { ", " })?;
            if let Some(value) = value {
                write!(f, ": {value}")?;
            }
        }
        f.write_str("}")
    }
}
