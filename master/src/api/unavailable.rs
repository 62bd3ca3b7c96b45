//! Calls that this version does not have yet: each says so in a sentence.

/// Handlers that answer UNIMPLEMENTED and name the call.
macro_rules! unavailable {
    ($($call:ident($request:ty) -> $response:ty;)*) => {$(
        fn $call<'life, 'future>(
            &'life self,
            _: tonic::Request<$request>,
        ) -> std::pin::Pin<Box<
            dyn Future<Output = Result<tonic::Response<$response>, tonic::Status>>
                + Send
                + 'future,
        >>
        where
            'life: 'future,
            Self: 'future,
        {
            Box::pin(async {
                Err($crate::api::unavailable::status(stringify!($call)))
            })
        }
    )*};
}

pub(super) use unavailable;

/// The answer of a call, given the name of its handler.
pub(crate) fn status(handler: &str) -> tonic::Status {
    let words = handler.split('_').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        format!("{}{rest}", first.to_uppercase())
    });
    let call = words.collect::<String>();
    tonic::Status::unimplemented(format!("{call} is not available in this version of the master"))
}
