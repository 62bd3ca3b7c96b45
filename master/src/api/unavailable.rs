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
                Err(tonic::Status::unimplemented(concat!(
                    stringify!($call),
                    " is not available in this version of the master"
                )))
            })
        }
    )*};
}

pub(super) use unavailable;
