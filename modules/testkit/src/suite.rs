//! From a list of MUSTs to a suite: the list that a report is made from, and a macro that makes a `#[test]` of each.

/// Declares the MUSTs of one kind: `MUSTS`, and an exported macro that writes a test per MUST.
///
/// The name of a MUST is that of its test and of the function that finds out. The first argument is `$`, which a macro that writes a macro needs as a token of its own.
macro_rules! suite {
    (
        $d:tt $(#[$doc:meta])* $tests:ident $(with $general:ident)?;
        $($id:literal $name:ident: $sentence:literal;)*
    ) => {
        /// The MUSTs of this suite, in the order of `docs/module-spec.md`.
        pub const MUSTS: &[$crate::Must] = &[$(
            $crate::Must { id: $id, name: stringify!($name), sentence: $sentence, check: $name },
        )*];

        $(#[$doc])*
        #[macro_export]
        macro_rules! $tests {
            ($d subject:expr) => {
                $($crate::$general!($d subject);)?
                $(
                    #[test]
                    fn $name() {
                        $crate::prove(&$d subject, $id);
                    }
                )*
            };
        }
    };
}

pub(crate) use suite;
